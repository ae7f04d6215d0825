"""Colours laid over a picture: label maps, and maps of numbers. Letters: K names, H x W picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .colors import VOID_COLOR


def overlay(
    image: np.ndarray,
    labels: np.ndarray,
    colors: np.ndarray,
    *,
    strength: float = 0.55,
    unpainted: Sequence[int] = (),
) -> np.ndarray:
    """Lay a label map over its picture, with a light line between regions.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) integers; what is no row of ``colors`` is shown in grey.
        colors: (K, 3) uint8.
        strength: 0 shows the picture only, 1 the colours only.
        unpainted: labels of which the picture alone is shown.

    Returns:
        (H, W, 3) uint8.
    """
    index = _index(labels, len(colors))
    table = np.vstack([colors, np.array([VOID_COLOR], dtype=np.uint8)]).astype(np.uint16)
    weight = np.full(len(table), round(256 * strength), dtype=np.uint16)
    weight[list(unpainted)] = 0
    mixed = image * (256 - weight)[index][..., None]
    mixed += (table * weight[:, None])[index]
    mixed >>= 8
    mixed = mixed.astype(np.uint8)
    mixed[region_borders(labels, 1 + min(labels.shape) // 700)] = 255
    return mixed


def heat_overlay(image: np.ndarray, values: np.ndarray, *, strength: float = 0.65) -> np.ndarray:
    """Lay a map of numbers over its picture: dark blue for the least, yellow for the largest.

    Args:
        image: (H, W, 3) uint8 RGB.
        values: (H, W) numbers.
        strength: 0 shows the picture only, 1 the colours only.

    Returns:
        (H, W, 3) uint8.
    """
    from matplotlib import colormaps

    span = max(float(values.max() - values.min()), 1e-12)
    colors = colormaps["viridis"]((values - values.min()) / span)[..., :3]
    return ((1 - strength) * image + strength * 255 * colors).round().astype(np.uint8)


def _index(labels: np.ndarray, count: int) -> np.ndarray:
    """Labels as rows of a table of ``count`` colours and, last, that of everything else."""
    index = labels.astype(np.intp)
    index[(index < 0) | (index >= count)] = count
    return index


def region_borders(labels: np.ndarray, thickness: int) -> np.ndarray:
    """Mark the pixels on the lines between regions: (H, W) bool; ``thickness`` in pixels."""
    edge = np.zeros(labels.shape, dtype=bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    for _ in range(thickness - 1):
        edge[:, 1:] |= edge[:, :-1].copy()
        edge[1:] |= edge[:-1].copy()
    return edge
