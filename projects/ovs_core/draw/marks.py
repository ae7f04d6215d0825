"""Contours and hatching: regions that are told apart without any colour."""

from __future__ import annotations

import numpy as np

from .overlays import region_borders

HATCHINGS = 7  # the first is none
DARK, LIGHT = (20, 20, 20, 230), (255, 255, 255, 230)


def marks(regions: np.ndarray, owner: np.ndarray, *, period: int = 12) -> np.ndarray:
    """Draw contours around regions, and lines over them that differ from name to name.

    Args:
        regions: (H, W) region per pixel, below R.
        owner: (R,) index of each region's name, -1 for none, which is not hatched.
        period: pixels from one line of a hatching to the next.

    Returns:
        (H, W, 4) uint8 RGBA, transparent where nothing is drawn.
    """
    names = np.asarray(owner)[regions]
    kinds = np.where(names < 0, 0, names % HATCHINGS)
    return _drawn(kinds, region_borders(regions, 2), period)


def swatch(name: int, size: int = 12, *, period: int = 6) -> np.ndarray:
    """The hatching of a name, for a legend: (size, size, 4) uint8 RGBA."""
    kinds = np.full((size, size), name % HATCHINGS)
    return _drawn(kinds, np.zeros((size, size), dtype=bool), period)


def _drawn(kinds: np.ndarray, contours: np.ndarray, period: int) -> np.ndarray:
    """Dark lines with light ones beside them, which show on any ground."""
    width = max(1, period // 6)
    canvas = np.zeros((*kinds.shape, 4), dtype=np.uint8)
    phases = _phases(kinds.shape, period)
    for start, color in ((width, LIGHT), (0, DARK)):
        lines = (phases >= start) & (phases < start + width)
        canvas[_chosen(lines, kinds)] = color
    canvas[contours] = DARK
    return canvas


def _phases(shape: tuple[int, int], period: int) -> np.ndarray:
    """Place of each pixel between two lines of four directions: (4, H, W)."""
    y, x = np.indices(shape)
    return np.stack([x + y, x - y, y, x]) % period


def _chosen(lines: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Pixels on a line of their own hatching: one of four directions, or two crossing ones."""
    falling, rising, level, upright = lines
    nothing = np.zeros_like(falling)
    every = (nothing, falling, level, rising, upright, falling | rising, level | upright)
    return np.choose(kinds, every)
