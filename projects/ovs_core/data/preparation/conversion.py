"""Turning raw label files into class indices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...errors import UserError
from ..label_rules import convert_labels
from ..labels import read_label_file
from ..sources import files_by_key, files_of_keys
from .jobs import Job, run_jobs
from .summary import Summary


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
    if keys is None:
        found = files_by_key(raw, (raw_suffix,))
    else:
        found = files_of_keys(raw, raw_suffix, keys)
    jobs = [Job(target / f"{key}.png", converted, (path, rules)) for key, path in found.items()]
    return run_jobs(jobs, title=title, recipe=" > ".join(rules), workers=workers)


def first_existing(paths: Sequence[Path], what: str) -> Path:
    """Give the first path that exists.

    Raises:
        UserError: if none does; lists them.
    """
    for path in paths:
        if path.exists():
            return path
    raise UserError(
        f"{what} not found. Looked for:",
        *(f"  {path}" for path in paths),
        "See datasets/README.md for its source.",
    )
