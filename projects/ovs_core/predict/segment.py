"""One name, or one thing, on a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage


@dataclass(frozen=True)
class Segment:
    """The pixels of one name or, with a panoptic method, of one thing.

    Attributes:
        name: the word.
        index: its place in the word list.
        area: number of pixels.
        share: part of the picture, 0..1.
        box: (left, top, right, bottom) in pixels, right and bottom exclusive.
        id: value in ``Result.segment_ids``; None for methods that don't tell things apart.
        is_thing: whether it is one of several countable things; None if nothing is known.
        is_background: whether the word was given as a background word.
    """

    name: str
    index: int
    area: int
    share: float
    box: tuple[int, int, int, int]
    id: int | None = None
    is_thing: bool | None = None
    is_background: bool = False


def regions_of(numbers: np.ndarray) -> list[tuple[int, int, tuple[int, int, int, int]]]:
    """Number, area and box (left, top, right, bottom) of every number >= 0 of an (H, W) map."""
    areas = np.bincount(numbers.ravel())
    boxes = ndimage.find_objects(numbers + 1)
    return [
        (number, int(areas[number]), (box[1].start, box[0].start, box[1].stop, box[0].stop))
        for number, box in enumerate(boxes) if box is not None
    ]  # fmt: skip


def small_labels(labels: np.ndarray, names: int) -> np.ndarray:
    """Bring an (H, W) map of so many names to the 8 or 16 bits of a PNG."""
    return labels.astype(np.uint8 if names <= 256 else np.uint16)
