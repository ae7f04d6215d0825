"""The folder of a run: one process at a time, and one command line.

Whether a single result is up to date is said by its own record. ``run.json`` only keeps results of
two different lines from being mixed by mistake.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files.locks import hold_folder
from ..files.writing import json_text, write_json
from ..words.vocabulary import Vocabulary
from .parts import MAKER

RUN_FILE = "run.json"


@contextlib.contextmanager
def open_output(
    folder: str | Path,
    vocabulary: Vocabulary,
    line: Mapping[str, object],
    *,
    overwrite: bool = False,
) -> Iterator[Path]:
    """Hold the folder of a run, or go on with an earlier run of the same line.

    Args:
        folder: of the results; made if absent.
        vocabulary: the words as they were read.
        line: what was typed that decides the results, as JSON takes it; ``words`` among it.
        overwrite: forget an earlier run.

    Yields:
        The folder, which then holds ``run.json``.

    Raises:
        UserError: if it holds results of another line or is held by another process, or cannot be
            written.
    """
    with hold_folder(folder, "a segmentation") as held:
        entries = [asdict(entry) for entry in vocabulary]
        content = {"made_by": MAKER, **line, "entries": entries}
        path = held / RUN_FILE
        if path.exists() and not overwrite:
            _compare_runs(path, json.loads(json_text(content)))
        write_json(path, content)
        yield held


def _compare_runs(path: Path, content: dict[str, Any]) -> None:
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); remove it, or choose another --output"
        ) from error
    if not isinstance(earlier, dict) or earlier.get("made_by") != MAKER:
        raise UserError(f"{path}: was not made by the suite; choose another --output")
    other = [key for key in content if earlier.get(key) != content[key] and key != "entries"]
    # The same words may be typed in another way; until 0.2.0 only their entries were kept.
    if content["entries"] in (earlier.get("entries"), earlier.get("words")):
        other = [key for key in other if key != "words"]
    if other:
        raise UserError(
            f"{path.parent}: holds results with other {' and '.join(other)}; choose another "
            "--output, or make everything anew with --overwrite"
        )
