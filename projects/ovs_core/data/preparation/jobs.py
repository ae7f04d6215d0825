"""What the preparations share: many small files made in parallel, safely.

A file that exists is complete, so a broken run goes on where it stopped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...files.raster import open_raster
from ...files.writing import save_picture
from ..parallel import map_in_processes
from ..sources import first_ten
from .claims import claim_folder
from .summary import Summary, count_values

Outcome = tuple[bool, NDArray[np.int64], NDArray[np.int64], Any]


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
    outcomes = map_in_processes(_do, jobs, workers=workers, title=title, unit="file")
    for job, (made, values, counts, note) in zip(jobs, outcomes, strict=True):
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


def _do(job: Job) -> Outcome:
    exists = job.target.is_file()
    array, note = None, None
    if not exists or job.noted:
        made = job.make(*job.arguments)
        array, note = made if job.noted else (made, None)
        if not exists:
            save_picture(array, job.target)
    elif job.target.suffix != ".jpg":
        array = _read_back(job.target)
    return (not exists, *count_values(array, note), note)


def _read_back(path: Path) -> NDArray[Any]:
    with open_raster(path) as picture:
        return np.asarray(picture)
