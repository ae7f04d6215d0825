"""Many pictures into a folder: read, segmented and written side by side, resumable."""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from ..errors import UserError
from ..files.writing import check_output_dir, json_text, write_json
from ..words.vocabulary import Vocabulary
from .predictor import Predictor
from .reading import Input
from .result import Result, earlier_result

RUN_FILE = "run.json"
AHEAD = 3  # pictures read before they are needed, and results waiting to be written

T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Tally:
    """What became of the pictures of a run.

    Attributes:
        done: segmented and written.
        skipped: finished in an earlier run.
        failed: one line each.
    """

    done: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)


def open_output(
    folder: str | Path,
    vocabulary: Vocabulary,
    method: dict[str, object],
    *,
    overwrite: bool = False,
) -> Path:
    """Make the folder of a run, or go on with an earlier run of the same words and method.

    Args:
        folder: of the results.
        vocabulary: the words.
        method: what else decides the result, as JSON takes it.
        overwrite: forget an earlier run.

    Returns:
        The folder, which then holds ``run.json``.

    Raises:
        UserError: if it holds results of other words or another method, or cannot be written.
    """
    folder = check_output_dir(folder)
    content = {**method, "words": [asdict(entry) for entry in vocabulary]}
    path = folder / RUN_FILE
    if path.exists() and not overwrite:
        _compare_runs(path, json.loads(json_text(content)))
    write_json(path, content)
    return folder


def segment_files(
    predictor: Predictor,
    vocabulary: Vocabulary,
    inputs: Iterable[Input],
    folder: Path,
    *,
    total: int | None = None,
    overwrite: bool = False,
    report: Callable[[Input, Result], None] | None = None,
) -> Tally:
    """Segment pictures and write each result as soon as it is there.

    Reading and writing go on in other threads while the network works. A picture that cannot be
    segmented is noted, and the rest goes on.

    Args:
        predictor: the method.
        vocabulary: the words.
        inputs: the pictures.
        folder: of the results.
        total: number of pictures, for the progress bar.
        overwrite: replace whatever stands in the way, also finished results.
        report: called with every result.
    """
    with tqdm(total=total, unit="picture", disable=None) as bar, ThreadPoolExecutor(2) as pool:
        run = _Run(predictor, vocabulary, folder, overwrite, pool, bar)
        for (one, result), written in _ahead(run.write, run.results(inputs), pool):
            try:
                written.result()
            except UserError as error:
                run.fail(one, error)
                continue
            run.tally.done += 1
            bar.update()
            if report is not None:
                report(one, result)
    return run.tally


def is_finished(one: Input, folder: Path) -> bool:
    """Whether an earlier run wrote the result of this picture, and the picture is older."""
    place = folder / one.stem
    earlier = earlier_result(place.parent, place.name)
    if earlier is None or earlier["picture"] != str(Path(one.source).resolve()):
        return False
    written = (place.parent / f"{place.name}_segments.json").stat().st_mtime_ns
    return one.path.stat().st_mtime_ns <= written


@dataclass
class _Run:
    """The way of the inputs to their files, and what became of them so far."""

    predictor: Predictor
    vocabulary: Vocabulary
    folder: Path
    overwrite: bool
    pool: ThreadPoolExecutor
    bar: tqdm
    tally: Tally = field(default_factory=Tally)

    def results(self, inputs: Iterable[Input]) -> Iterator[tuple[Input, Result]]:
        """Segment what is not finished, reading ahead."""
        for one, image in _ahead(Input.load, filter(self.is_wanted, inputs), self.pool):
            try:
                result = self.predictor(image.result(), self.vocabulary)
                yield one, replace(result, source=one.source)
            except UserError as error:
                self.fail(one, error)

    def is_wanted(self, one: Input) -> bool:
        """Whether there is something to do; counts what there is not."""
        if self.overwrite or not is_finished(one, self.folder):
            return True
        self.tally.skipped += 1
        self.bar.update()
        return False

    def write(self, pair: tuple[Input, Result]) -> None:
        """Write one result."""
        one, result = pair
        place = self.folder / one.stem
        result.save(place.parent, place.name, overwrite=self.overwrite)

    def fail(self, one: Input, error: UserError) -> None:
        """Note an input that cannot be segmented or written."""
        line = str(error) if str(one.path) in str(error) else f"{one.source}: {error}"
        self.tally.failed.append(line)
        self.bar.update()


def _ahead(
    function: Callable[[T], R], items: Iterable[T], pool: ThreadPoolExecutor
) -> Iterator[tuple[T, Future[R]]]:
    """Apply a function in other threads, a few items ahead of what is being used, in order."""
    items, waiting = iter(items), deque[tuple[T, Future[R]]]()
    while True:
        for item in itertools.islice(items, AHEAD - len(waiting)):
            waiting.append((item, pool.submit(function, item)))
        if not waiting:
            return
        yield waiting.popleft()


def _compare_runs(path: Path, content: dict[str, object]) -> None:
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); choose another --output") from error
    other = [key for key in content if earlier.get(key) != content[key]]
    if other:
        raise UserError(
            f"{path.parent}: holds results with other {' and '.join(other)}; choose another "
            "--output, or make everything anew with --overwrite"
        )
