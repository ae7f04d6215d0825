"""Many pictures into a folder: read, segmented and written side by side, resumable."""

from __future__ import annotations

import errno
import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from tqdm import tqdm

from ..files.pictures import LoadedPicture
from ..files.shards import Shard
from ..files.writing import remove_unfinished
from ..words.vocabulary import Vocabulary
from .parts import SavedResult
from .reading import Input
from .stream import failure_line

if TYPE_CHECKING:  # who shares pictures out builds no model
    from .predictor import Predictor
    from .result import Result

AHEAD = 3  # pictures read before they are needed, and results waiting to be written
FULL = (errno.ENOSPC, errno.EDQUOT)

T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Tally:
    """What became of the pictures of a run.

    Attributes:
        done: segmented and written.
        anew: why those that had a result before were segmented again -> how many.
        skipped: finished in an earlier run, with the same config, weights, words and picture.
        failed: one line each.
        out_of_world: what the results say of pictures that an embedded CLIP knows nothing of, see
            ``Result``.
        finished: stems of the results that are whole now, segmented or skipped.
        stopped: why the run ended before its end; "" if it did not.
    """

    done: int = 0
    anew: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    failed: list[str] = field(default_factory=list)
    out_of_world: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    stopped: str = ""

    def add(self, other: Tally) -> None:
        """Take in what became of other pictures of the run."""
        self.done += other.done
        self.anew.update(other.anew)
        self.skipped += other.skipped
        self.failed += other.failed
        self.finished += other.finished
        self.stopped = self.stopped or other.stopped

    @property
    def seen(self) -> int:
        """How many pictures something has become of."""
        return self.done + self.skipped + len(self.failed)


@dataclass(frozen=True)
class _Task:
    """An input that is not finished: its pixels, why they are wanted, what decides the result."""

    picture: LoadedPicture
    reason: str
    made_with: dict[str, str]

    def trace(self) -> dict[str, str]:
        """See ``Result.trace``."""
        return self.made_with


class Store(Protocol):
    """Where the results of a run go."""

    def stale(self, one: Input, made_with: Mapping[str, str]) -> str:
        """Say why there is no finished result of a picture, see ``SavedResult.stale``."""

    def save(self, one: Input, result: Result) -> None:
        """Keep a result."""

    def fail(self, one: Input, line: str) -> None:
        """Keep why there is none."""


class _ResultFiles(Store):
    """Files of each picture in a folder."""

    def __init__(self, folder: Path, overwrite: bool) -> None:
        self._folder, self._overwrite = folder, overwrite

    def stale(self, one: Input, made_with: Mapping[str, str]) -> str:
        if self._overwrite:
            return "overwritten"
        place = self._folder / one.stem
        return SavedResult(place.parent, place.name).stale(one.identity, made_with)

    def save(self, one: Input, result: Result) -> None:
        place = self._folder / one.stem
        result.save(place.parent, place.name, overwrite=self._overwrite)

    def fail(self, one: Input, line: str) -> None:
        """The tally alone says so."""


def segment_files(
    predictor: Predictor,
    vocabulary: Vocabulary,
    inputs: Iterable[Input],
    folder: Path,
    *,
    total: int | None = None,
    overwrite: bool = False,
    shard: Shard | None = None,
    batch: int = 1,
    report: Callable[[Input, Result], None] | None = None,
    tally: Tally | None = None,
    shared: Iterable[Path] = (),
    store: Store | None = None,
) -> Tally:
    """Segment pictures and write each result as soon as it is there.

    Reading and writing go on in other threads while the network works. Whatever goes wrong with a
    picture is noted, and the rest goes on; only a full disk stops the run. What is finished with
    the same config, weights, words and picture is left as it is.

    Args:
        predictor: the method.
        vocabulary: the words.
        inputs: the pictures; taken one after the other, so that any number fits into memory.
        folder: of the results, in which nobody else writes now but other shards (see
            ``run_file.open_output``).
        total: number of pictures, for the progress bar.
        overwrite: replace whatever stands in the way, also finished results.
        shard: the part of the pictures that is segmented here.
        batch: how many pictures are encoded together, where they are shown at one size.
        report: called with every result.
        tally: filled as the run goes on, for a caller that may be interrupted.
        shared: folders in which other processes of the run write, too, so that halves of files in
            them are left alone; with ``shard`` all are.
        store: takes the results in place of files in ``folder``.

    Returns:
        The tally.
    """
    made_with = predictor.made_with(vocabulary)
    tally = Tally() if tally is None else tally
    if shard is not None:
        inputs, total = shard.take(inputs), None if total is None else shard.share(total)
    store = _ResultFiles(folder, overwrite) if store is None else store
    with tqdm(total=total, unit="picture", disable=None) as bar, ThreadPoolExecutor(2) as pool:
        run = _Run(predictor, vocabulary, made_with, folder, store, batch, pool, bar, tally)
        tidied = inputs if shard is not None else run.tidied(inputs, shared)
        for (one, result, reason), written in _ahead(run.write, run.results(tidied), pool):
            try:
                written.result()
            except Exception as error:  # whatever it is, the other pictures are not to blame
                run.fail(one, error)
                if isinstance(error, OSError) and error.errno in FULL:
                    tally.stopped = f"{folder}: {error.strerror}"
                    break
                continue
            tally.done += 1
            tally.finished.append(one.stem)
            tally.out_of_world += [result.out_of_world] if result.out_of_world else []
            if reason != "new":
                tally.anew[reason] += 1
            bar.update()
            if report is not None:
                report(one, result)
    return tally


@dataclass
class _Run:
    """The way of the inputs to their files, and what became of them so far."""

    predictor: Predictor
    vocabulary: Vocabulary
    made_with: dict[str, str]
    folder: Path
    store: Store
    batch: int
    pool: ThreadPoolExecutor
    bar: tqdm
    tally: Tally

    def results(self, inputs: Iterable[Input]) -> Iterator[tuple[Input, Result, str]]:
        """Segment what is not finished, with the reason."""
        tasks = self.tasks(inputs)
        while chunk := list(itertools.islice(tasks, self.batch)):
            if self.batch > 1:
                self.predictor.encode_ahead([task.picture.rgb for _, task in chunk])
            while chunk:
                one, task = chunk.pop(0)
                try:
                    result = self.predictor(task.picture, self.vocabulary)
                except Exception as error:  # whatever it is, the other pictures are not to blame
                    self.fail(one, error)
                    continue
                yield one, replace(result, source=one.source, trace=task.trace), task.reason

    def tasks(self, inputs: Iterable[Input]) -> Iterator[tuple[Input, _Task]]:
        """Read ahead, and leave out what is finished or cannot be read."""
        for one, prepared in _ahead(self.prepare, inputs, self.pool, max(AHEAD, self.batch)):
            try:
                task = prepared.result()
            except Exception as error:  # whatever it is, the other pictures are not to blame
                self.fail(one, error)
                continue
            if task is not None:
                yield one, task
                continue
            self.tally.skipped += 1
            self.tally.finished.append(one.stem)
            self.bar.update()

    def tidied(self, inputs: Iterable[Input], shared: Iterable[Path]) -> Iterator[Input]:
        """Remove halves of files of a killed run before anything is written beside them."""
        tidy = set(shared)
        for one in inputs:
            place = (self.folder / one.stem).parent
            if place not in tidy:
                tidy.add(place)
                remove_unfinished(place)
            yield one

    def prepare(self, one: Input) -> _Task | None:
        """Read an input; None if there is nothing to do."""
        if one.error is not None:
            raise one.error
        made_with = {**self.made_with, "picture": one.content()}
        reason = self.store.stale(one, made_with)
        return _Task(one.load(), reason, made_with) if reason else None

    def write(self, item: tuple[Input, Result, str]) -> None:
        """Write one result."""
        one, result, _ = item
        self.store.save(one, result)

    def fail(self, one: Input, error: Exception) -> None:
        """Note an input that cannot be read, segmented or written."""
        line = failure_line(one.source, error)
        self.tally.failed.append(line)
        self.store.fail(one, line)
        self.bar.update()


def _ahead(
    function: Callable[[T], R], items: Iterable[T], pool: ThreadPoolExecutor, count: int = AHEAD
) -> Iterator[tuple[T, Future[R]]]:
    """Apply a function in other threads, a few items ahead of what is being used, in order."""
    items, waiting = iter(items), deque[tuple[T, Future[R]]]()
    while True:
        for item in itertools.islice(items, count - len(waiting)):
            waiting.append((item, pool.submit(function, item)))
        if not waiting:
            return
        yield waiting.popleft()
