"""How far a run is: told from its folder, without a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..files.locks import find_holders
from ..words.vocabulary import Vocabulary
from .parts import PARTS, SavedResult
from .reading import Input
from .run_file import refuse_other_line


@dataclass
class Progress:
    """What a folder holds of the pictures of a run.

    Attributes:
        finished: a whole record, and all files that it names.
        unfinished: some of the files.
        to_do: none of them.
        at_work: the processes that write there now, in words.
    """

    finished: int = 0
    unfinished: int = 0
    to_do: int = 0
    at_work: list[str] = field(default_factory=list)


def find_progress(
    inputs: Iterable[Input], folder: Path, vocabulary: Vocabulary, line: Mapping[str, object]
) -> Progress:
    """Count what is finished, by the records of the results.

    Whether config, weights, words and pictures are still those of the records, and the files as
    they were written, is seen by a run alone: it makes anew what is not.

    Args:
        inputs: the pictures.
        folder: of the results; it need not exist.
        vocabulary: the words as they were read.
        line: see ``run_file.open_output``.

    Raises:
        UserError: if the folder holds results of another line.
    """
    refuse_other_line(folder, vocabulary, line)
    progress = Progress(at_work=find_holders(folder) if folder.is_dir() else [])
    for one in inputs:
        place = folder / one.stem
        saved = SavedResult(place.parent, place.name)
        record = saved.record
        named = () if record is None else record.get("files", ())
        if record is not None and all(saved.path(part).exists() for part in named):
            progress.finished += 1
        elif any(saved.path(part).exists() for part in PARTS):
            progress.unfinished += 1
        else:
            progress.to_do += 1
    return progress
