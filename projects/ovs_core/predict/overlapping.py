"""Labels of a raster that does not fit into memory, from overlapping windows of it.

The scores of a pixel are the mean of all windows that show it, each weighted by how far inside the
window the pixel lies, so that labels hardly depend on where windows fall. Letters: K words, H x W
raster, T side of a window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError

Box = tuple[int, int, int, int]  # top, left, height, width
MAX_BYTES = 256 * 2**20  # of the scores that are kept
ROWS = 16  # of which the best words are found at a time


@dataclass(frozen=True)
class Windows:
    """Where windows lie.

    Attributes:
        side: T; a raster that is smaller is one window.
        step: from one window to the next, in pixels.
        origin: (row, column) of a corner of the lattice that windows lie on. Two cuts out of one
            raster get the same windows if their origins are the same place.

    Raises:
        UserError: for values that make no sense.
    """

    side: int = 512
    step: int = 128
    origin: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if not 1 <= self.step <= self.side:
            raise UserError(f"step {self.step}: is from 1 to the side of a window, {self.side}")

    def starts(self, length: int, axis: int) -> list[int]:
        """Give where windows begin along an axis; those at both ends are moved inside."""
        last = max(0, length - self.side)
        first = self.origin[axis] % self.step - self.step
        return sorted({min(max(0, s), last) for s in range(first, last + self.step, self.step)})


def label_windows(
    score: Callable[[Box], NDArray[np.float32] | None],
    size: tuple[int, int],
    words: int,
    windows: Windows,
    max_bytes: int = MAX_BYTES,
) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """Label a raster piece by piece.

    What is held are the scores of one row of windows, of as many columns as ``max_bytes`` takes;
    how many these are does not change a label.

    Args:
        score: gives the (K, h, w) scores of a box, or None where there is nothing to see.
        size: (H, W).
        words: K.
        windows: where they lie.
        max_bytes: of the scores that are kept; at least those of one window are.

    Yields:
        Top and left corner of a piece, and its labels (h, w). Pieces cover the raster once.
    """
    height, width = min(windows.side, size[0]), min(windows.side, size[1])
    columns = max(width, max_bytes // (4 * words * height))
    weights = np.outer(_taper(height), _taper(width))
    tops, lefts = windows.starts(size[0], 0), windows.starts(size[1], 1)
    for begin in range(0, size[1], columns):
        end = min(begin + columns, size[1])
        inside = [left for left in lefts if begin - width < left < end]
        strip = np.zeros((words, height, end - begin), np.float32)
        for top, following in zip(tops, [*tops[1:], size[0]], strict=True):
            for left in inside:
                found = score((top, left, height, width))
                if found is not None:
                    first, last = max(left, begin), min(left + width, end)
                    part = np.s_[..., first - left : last - left]
                    strip[..., first - begin : last - begin] += (found * weights)[part]
            done = following - top
            yield top, begin, _best(strip[:, :done])
            _move_up(strip, done)
        del strip  # before the next one is made


def _move_up(strip: NDArray[np.float32], rows: int) -> None:
    """Drop the first rows of (K, h, w) scores; one word at a time, as moving takes a copy."""
    for scores in strip:
        scores[: len(scores) - rows] = scores[rows:]
        scores[len(scores) - rows :] = 0


def _best(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """(K, h, w) scores -> (h, w) words; in parts, as NumPy copies what it searches."""
    return np.concatenate(
        [scores[:, row : row + ROWS].argmax(axis=0) for row in range(0, scores.shape[1], ROWS)]
    )


def _taper(length: int) -> NDArray[np.float32]:
    """Weights from the ends of a window to its middle: a squared sine, nowhere 0."""
    return np.square(np.sin(np.pi * (np.arange(length) + 0.5) / length)).astype(np.float32)
