"""What the preparations share: many small files made in parallel, safely.

A file is written under another name and moved into place, so a file that exists is complete and a
broken run continues where it stopped. A folder that we fill carries a marker; a folder with files
but no marker belongs to the user and is left alone.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from ...errors import UserError
from ..label_rules import convert_labels
from ..labels import read_label_file
from ..sources import files_by_key, first_ten

MARKER = ".made_by_ovsuite.json"
_UNFINISHED = ".unfinished-"
_BINS = 65536
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One file to be made.

    Attributes:
        target: where it goes; the suffix picks the format (.png, .tif, .jpg).
        make: function that gives the array, or (array, note); must be picklable.
        arguments: its arguments.
        noted: whether ``make`` also gives a note (segments of a panoptic PNG), wanted on every run.
    """

    target: Path
    make: Callable[..., Any]
    arguments: tuple[Any, ...]
    noted: bool = False


@dataclass
class Summary:
    """What a run has made and found.

    Attributes:
        title: what was prepared.
        made: number of files written now.
        found: number of files that an earlier run had written.
        histogram: (65536,) pixels per label value, or per category of the segments; zero for
            pictures.
        notes: file stem -> note of its job, in the order of the jobs.
    """

    title: str
    made: int = 0
    found: int = 0
    histogram: np.ndarray = field(default_factory=lambda: np.zeros(_BINS, np.int64))
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def checksum(self) -> str:
        """First 16 digits of the SHA-256 of the histogram; equal data gives an equal checksum."""
        return hashlib.sha256(self.histogram.astype("<i8").tobytes()).hexdigest()[:16]

    def __str__(self) -> str:
        """One line for the end of a script."""
        values = int((self.histogram > 0).sum())
        return (
            f"{self.title}: {self.made + self.found} files ({self.made} made, {self.found} were "
            "there), "
            f"{int(self.histogram.sum())} pixels, {values} values, histogram {self.checksum}"
        )


def claim_folder(folder: Path, recipe: str) -> None:
    """Make a folder ours, or refuse.

    Args:
        folder: made if absent.
        recipe: what its files are; another recipe in the marker is refused.

    Raises:
        UserError: if the folder holds files that we did not make, or made in another way.
    """
    marker = folder / MARKER
    if marker.is_file():
        stated = json.loads(marker.read_text(encoding="utf-8")).get("recipe")
        if stated != recipe:
            raise UserError(f"{folder}: was made as '{stated}', not '{recipe}'; move it away first")
    elif folder.is_dir() and any(folder.iterdir()):
        raise UserError(
            f"{folder}: holds files that this command did not make, so it leaves them alone. If "
            "they "
            "are the prepared labels, nothing is left to do (`ovsuite check-dataset` tells); "
            "otherwise "
            "move the folder away and run again."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f"{_UNFINISHED}*"):
        leftover.unlink()
    _write_text(marker, json.dumps({"recipe": recipe}) + "\n")


def run_jobs(
    jobs: Sequence[Job], *, title: str, recipe: str | None, workers: int | None = None
) -> Summary:
    """Make the files that are missing, then count and sum up all of them.

    Args:
        jobs: one per file.
        title: shown beside the progress bar and in the summary.
        recipe: what the files are, for the marker of their folders; None for files that belong
            into a folder of the dataset, among others.
        workers: processes; None for one per core, 1 to stay in this process.

    Returns:
        The summary.

    Raises:
        UserError: if there is no job, a folder is not ours, or it holds files beside the jobs'.
    """
    if not jobs:
        raise UserError(f"{title}: found nothing to prepare")
    if recipe is not None:
        _claim_folders(jobs, recipe)
    summary = Summary(title)
    for job, (made, values, counts, note) in zip(jobs, _map(jobs, workers, title), strict=True):
        summary.made += made
        summary.found += not made
        summary.histogram[values] += counts
        if job.noted:
            summary.notes[job.target.stem] = note
    return summary


def _claim_folders(jobs: Sequence[Job], recipe: str) -> None:
    folders: dict[Path, set[str]] = {}
    for job in jobs:
        folders.setdefault(job.target.parent, set()).add(job.target.name)
    for folder, names in folders.items():
        claim_folder(folder, recipe)
        extra = {n for n in os.listdir(folder) if not n.startswith(".")} - names
        if extra:
            raise UserError(f"{folder}: holds files of no picture: {first_ten(extra)}; remove them")


def _map(jobs: Sequence[Job], workers: int | None, title: str) -> Any:
    show = partial(tqdm, total=len(jobs), desc=title, unit="file", disable=None)
    workers = workers or os.cpu_count() or 1
    if workers == 1:
        yield from show(map(_do, jobs))
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from show(pool.map(_do, jobs, chunksize=max(1, min(32, len(jobs) // (4 * workers)))))


def _do(job: Job) -> tuple[bool, np.ndarray, np.ndarray, Any]:
    exists, note, array = job.target.is_file(), None, None
    if not exists or job.noted:
        array = job.make(*job.arguments)
        if job.noted:
            array, note = array
    if not exists:
        write_picture(job.target, array)
    elif not job.noted and job.target.suffix != ".jpg":
        array = _read_back(job.target)
    values, counts = _histogram(array, note)
    return not exists, values, counts, note


def _histogram(array: np.ndarray | None, segments: Any) -> tuple[np.ndarray, np.ndarray]:
    """Pixels per class: of a label map, or of the segments of a panoptic PNG; none of a picture."""
    if segments is not None:
        values = np.array([s["category_id"] for s in segments], np.int64)
        return _add_up(values, np.array([s["area"] for s in segments], np.int64))
    if array is None or array.ndim != 2:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    values, counts = np.unique(array, return_counts=True)
    return values.astype(np.int64), counts


def _add_up(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    unique, place = np.unique(values, return_inverse=True)
    return unique, np.bincount(place, counts, len(unique)).astype(np.int64)


def _read_back(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def write_picture(path: Path, array: np.ndarray) -> None:
    """Write an array as a picture, completely or not at all.

    Args:
        path: .png, .tif or .jpg.
        array: (H, W) uint8 or uint16 ids, or (H, W, 3) uint8 colours.
    """
    part = path.with_name(f"{_UNFINISHED}{os.getpid()}-{path.name}")
    Image.fromarray(array).save(part)
    os.replace(part, path)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write an annotation file, completely or not at all.

    Raises:
        UserError: if a file of that name exists that this suite did not write.
    """
    if path.exists() and not _is_ours(path):
        raise UserError(f"{path}: exists and was not made by this command; move it away first")
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_text(path, json.dumps({"info": {"made_by": "ovsuite"}, **content}))
    _logger.info("wrote %s", path)


def _is_ours(path: Path) -> bool:
    with path.open(encoding="utf-8") as file:
        return file.read(64).startswith('{"info": {"made_by": "ovsuite"}')


def _write_text(path: Path, text: str) -> None:
    part = path.with_name(f"{_UNFINISHED}{path.name}")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def converted(path: str, rules: tuple[str, ...]) -> np.ndarray:
    """Read a label file and apply rules to it."""
    return convert_labels(read_label_file(path), *rules)


def convert_folder(
    raw: Path,
    target: Path,
    *,
    rules: tuple[str, ...],
    title: str,
    keys: Sequence[str] | None = None,
    raw_suffix: str = ".png",
    workers: int | None = None,
) -> Summary:
    """Turn a folder of raw label files into a folder of class indices (PNG).

    Args:
        raw: folder of the raw files.
        target: folder to fill.
        rules: rules of ``label_rules.py``.
        title: for progress and summary.
        keys: file stems to convert; None for all.
        raw_suffix: end of the raw names.
        workers: see ``run_jobs``.

    Returns:
        The summary.

    Raises:
        UserError: if a wanted file is missing.
    """
    found = files_by_key(raw, (raw_suffix,))
    wanted = list(found) if keys is None else list(keys)
    missing = set(wanted) - found.keys()
    if missing:
        raise UserError(f"{raw}: no *{raw_suffix} for {len(missing)} names: {first_ten(missing)}")
    jobs = [Job(target / f"{key}.png", converted, (found[key], rules)) for key in wanted]
    return run_jobs(jobs, title=title, recipe=" > ".join(rules), workers=workers)


def first_existing(paths: Sequence[Path], what: str) -> Path:
    """Give the first path that exists.

    Raises:
        UserError: if none does; lists them.
    """
    for path in paths:
        if path.exists():
            return path
    listed = "\n".join(f"  {path}" for path in paths)
    raise UserError(
        f"{what} not found. Looked for:\n{listed}\nSee datasets/README.md for its source."
    )
