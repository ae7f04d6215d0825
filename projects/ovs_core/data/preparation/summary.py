"""What a preparation has made and found, in one line that equal data repeats."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BINS = 65536


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
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS, np.int64))
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
            f"there), {int(self.histogram.sum())} pixels, {values} values, histogram "
            f"{self.checksum}"
        )


def count_values(
    array: NDArray[Any] | None, segments: list[dict[str, Any]] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the pixels of each class in one file.

    Args:
        array: (H, W) labels, or a picture (H, W, 3), which has no classes.
        segments: of a panoptic PNG; they count in its place.

    Returns:
        The classes that occur, each once, and their pixels.
    """
    if segments is not None:
        values = np.array([s["category_id"] for s in segments], np.int64)
        unique, place = np.unique(values, return_inverse=True)
        areas = np.array([s["area"] for s in segments], np.int64)
        return unique, np.bincount(place, areas, len(unique)).astype(np.int64)
    if array is None or array.ndim != 2:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    values, counts = np.unique(array, return_counts=True)
    return values.astype(np.int64), counts


def extent(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Area and box ``[left, top, width, height]`` of a mask (H, W), for annotation files."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    box = [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]
    return {"area": int(mask.sum()), "bbox": box}
