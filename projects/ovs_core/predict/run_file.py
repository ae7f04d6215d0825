"""The folder of a run: one process, or several that share its pictures, and one command line.

Whether a single result is up to date is said by its own record. ``run.json`` only keeps results of
two different lines from being mixed by mistake.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files.json_files import parse_json
from ..files.locks import at_the_door, hold_folder, hold_shard, shards_at_work
from ..files.shards import Shard
from ..files.writing import check_output_dir, json_text, remove_unfinished, write_json
from ..words.vocabulary import Vocabulary
from .parts import MAKER

RUN_FILE = "run.json"
PURPOSE = "a segmentation"


@contextlib.contextmanager
def open_output(
    folder: str | Path,
    vocabulary: Vocabulary,
    line: Mapping[str, object],
    *,
    overwrite: bool = False,
    shard: Shard | None = None,
    below: Iterable[str] = (),
    patience: float = 0.0,
) -> Iterator[Path]:
    """Hold the folder of a run, or go on with an earlier run of the same line.

    Halves of files that killed processes left are removed whenever nobody writes there: before a
    run that has the folder to itself, and before the first and after the last of several shards.

    Args:
        folder: of the results; made if absent.
        vocabulary: the words as they were read.
        line: what was typed that decides the results, as JSON takes it; ``words`` among it.
        overwrite: forget an earlier run, unless other shards are at work on it.
        shard: the part of this process, if others share the folder.
        below: names of folders in it that get results, too.
        patience: see ``hold_folder``.

    Yields:
        The folder, which then holds ``run.json``.

    Raises:
        UserError: if it holds results of another line or is held by another process, or cannot be
            written.
    """
    if shard is None:
        with hold_folder(folder, PURPOSE, patience) as held:
            _begin(held, vocabulary, line, overwrite)
            yield held
        return
    held = check_output_dir(folder)
    places = [held, *(held / name for name in below)]
    with contextlib.ExitStack() as stack:
        with at_the_door(held):
            is_first = not shards_at_work(held)
            stack.enter_context(hold_shard(held, PURPOSE, shard))
            _begin(held, vocabulary, line, overwrite and is_first)
            if is_first:
                _tidy(places)
        yield held
        with at_the_door(held):
            if shards_at_work(held).keys() == {shard}:
                _tidy(places)


def refuse_other_line(folder: Path, vocabulary: Vocabulary, line: Mapping[str, object]) -> None:
    """Refuse a folder that holds results of another line; see ``open_output``.

    Args:
        folder: of the results.
        vocabulary: the words as they were read.
        line: what was typed that decides the results.

    Raises:
        UserError: names what differs.
    """
    if (folder / RUN_FILE).exists():
        _compare_runs(folder / RUN_FILE, json.loads(json_text(_content(vocabulary, line))))


def _begin(
    folder: Path, vocabulary: Vocabulary, line: Mapping[str, object], overwrite: bool
) -> None:
    if not overwrite:
        refuse_other_line(folder, vocabulary, line)
    write_json(folder / RUN_FILE, _content(vocabulary, line))


def _content(vocabulary: Vocabulary, line: Mapping[str, object]) -> dict[str, Any]:
    return {"made_by": MAKER, **line, "entries": [asdict(entry) for entry in vocabulary]}


def _tidy(places: Iterable[Path]) -> None:
    for place in places:
        remove_unfinished(place)


def _compare_runs(path: Path, content: dict[str, Any]) -> None:
    try:
        earlier = parse_json(path.read_text(encoding="utf-8"))
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
