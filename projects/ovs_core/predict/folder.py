"""Many pictures into a folder: read, segmented and written side by side, resumable."""

from __future__ import annotations

import itertools
import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from ..errors import UserError
from ..files.pictures import find_pictures, read_picture
from ..files.writing import atomic_write, check_output_dir
from ..words.vocabulary import Vocabulary
from .predictor import Predictor
from .result import Result, earlier_result
from .video import SUFFIXES as VIDEO_SUFFIXES
from .video import count_frames, read_frames

RUN_FILE = "run.json"
AHEAD = 3  # pictures read before they are needed, and results waiting to be written

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Task:
    """One picture, or one frame of a video.

    Attributes:
        path: the file.
        stem: begins the names of its results.
        frame: its number; None for a picture.
        image: the frame; None for a picture, which is read when its turn comes.
    """

    path: Path
    stem: str
    frame: int | None = None
    image: np.ndarray | None = field(default=None, repr=False)

    @property
    def source(self) -> str:
        """Path, with the number of the frame behind it."""
        return str(self.path) if self.frame is None else f"{self.path}#{self.frame}"

    def load(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""
        return read_picture(self.path) if self.image is None else self.image


@dataclass
class Summary:
    """What became of the pictures.

    Attributes:
        done: segmented and written.
        skipped: finished in an earlier run.
        failed: one line each.
    """

    done: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)


def find_inputs(inputs: Sequence[str | Path]) -> list[Path]:
    """Turn pictures, videos and folders into a list of files.

    Raises:
        UserError: for a path that does not exist, or a folder without pictures.
    """
    found: list[Path] = []
    for path in map(Path, inputs):
        if path.is_dir():
            found += find_pictures(path)
        elif path.is_file():
            found.append(path)
        else:
            raise UserError(f"{path}: no such picture, video or folder")
    return list(dict.fromkeys(found))


def tasks(files: Sequence[Path], every: int = 1) -> Iterator[Task]:
    """Go through the files; a video gives its frames in a folder of its own.

    Args:
        files: pictures and videos.
        every: only each n-th frame of a video.
    """
    for path, stem in zip(files, _stems(files), strict=True):
        if path.suffix.lower() in VIDEO_SUFFIXES:
            for number, image in read_frames(path, every):
                yield Task(path, f"{stem}/{number:06d}", number, image)
        else:
            yield Task(path, stem)


def count_tasks(files: Sequence[Path], every: int = 1) -> int | None:
    """How many tasks the files give; None if a video does not say how long it is."""
    counts = [
        count_frames(path, every) if path.suffix.lower() in VIDEO_SUFFIXES else 1 for path in files
    ]
    return sum(counts) if all(counts) else None


def open_output(
    folder: str | Path, vocabulary: Vocabulary, method: dict[str, Any], *, overwrite: bool = False
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
    content = json.loads(json.dumps(content))  # as it will be read again
    path = folder / RUN_FILE
    if path.exists() and not overwrite:
        _compare_runs(path, content)
    atomic_write(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return folder


def segment_files(
    predictor: Predictor,
    vocabulary: Vocabulary,
    work: Iterable[Task],
    folder: Path,
    *,
    total: int | None = None,
    overwrite: bool = False,
    report: Callable[[Task, Result], None] | None = None,
) -> Summary:
    """Segment pictures and write each result as soon as it is there.

    Reading and writing go on in other threads while the network works. A picture that cannot be
    segmented is noted, and the rest goes on.

    Args:
        predictor: the method.
        vocabulary: the words.
        work: the pictures.
        folder: of the results.
        total: number of pictures, for the progress bar.
        overwrite: replace whatever stands in the way, also finished results.
        report: called with every result.
    """
    summary = Summary()
    bar = tqdm(total=total, unit="picture", disable=None)

    def fail(task: Task, error: UserError) -> None:
        line = str(error) if str(task.path) in str(error) else f"{task.source}: {error}"
        summary.failed.append(line)
        bar.update()

    def wanted() -> Iterator[Task]:
        for task in work:
            if overwrite or not is_finished(task, folder):
                yield task
                continue
            summary.skipped += 1
            bar.update()

    def results() -> Iterator[tuple[Task, Result]]:
        for task, image in _ahead(Task.load, ((task, task) for task in wanted()), pool):
            try:
                result = predictor(image.result(), vocabulary)
                yield task, replace(result, source=task.source)
            except UserError as error:
                fail(task, error)

    def write(pair: tuple[Task, Result]) -> Result:
        task, result = pair
        place = folder / task.stem
        result.save(place.parent, place.name, overwrite=overwrite)
        return result

    with bar, ThreadPoolExecutor(2) as pool:
        for task, written in _ahead(write, ((pair[0], pair) for pair in results()), pool):
            try:
                result = written.result()
            except UserError as error:
                fail(task, error)
                continue
            summary.done += 1
            bar.update()
            if report is not None:
                report(task, result)
    return summary


def is_finished(task: Task, folder: Path) -> bool:
    """Whether an earlier run wrote the result of this picture, and the picture is older."""
    place = folder / task.stem
    earlier = earlier_result(place.parent, place.name)
    if earlier is None or earlier["picture"] != str(Path(task.source).resolve()):
        return False
    written = (place.parent / f"{place.name}_segments.json").stat().st_mtime_ns
    return task.path.stat().st_mtime_ns <= written


def _ahead(
    function: Callable[[T], R], items: Iterable[tuple[Task, T]], pool: ThreadPoolExecutor
) -> Iterator[tuple[Task, Future[R]]]:
    """Apply a function in other threads, a few items ahead of what is being used, in order."""
    items, waiting = iter(items), deque()
    while True:
        for task, item in itertools.islice(items, AHEAD - len(waiting)):
            waiting.append((task, pool.submit(function, item)))
        if not waiting:
            return
        yield waiting.popleft()


def _stems(files: Sequence[Path]) -> list[str]:
    """Names of the results: the files' own, told apart by suffix and folder where they repeat."""
    stems = [path.stem for path in files]
    for longer in (
        lambda path: path.name.replace(".", "_"),
        lambda path: "_".join((*path.resolve().parts[1:-1], path.name.replace(".", "_"))),
    ):
        counts = Counter(stems)
        stems = [longer(p) if counts[s] > 1 else s for p, s in zip(files, stems, strict=True)]
    return stems


def _compare_runs(path: Path, content: dict[str, Any]) -> None:
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
