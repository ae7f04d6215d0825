"""One name, or one thing, on a picture."""

from __future__ import annotations

from dataclasses import dataclass


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
