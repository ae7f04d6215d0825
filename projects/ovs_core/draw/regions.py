"""What a result paints: the pixels of each name or, from a panoptic method, of each segment.

Letters: K names, R regions, H x W picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .colors import VOID_COLOR

SHADES = (1.0, 0.72, 1.28, 0.55)  # of things of one name


@dataclass(frozen=True)
class PaintedRegions:
    """A map of regions, with the name and colour of each.

    Attributes:
        map: (H, W) region per pixel, below R.
        owner: (R,) index of each region's name, -1 for none.
        colors: (R, 3) uint8.
        plain: regions of which the picture alone is shown.
    """

    map: np.ndarray
    owner: np.ndarray
    colors: np.ndarray
    plain: tuple[int, ...]

    def by_name(self) -> list[tuple[int, int, float]]:
        """The names that occur, largest first: index, number of regions, share of the pixels."""
        areas = np.bincount(self.map.ravel(), minlength=len(self.owner))
        valid = (self.owner >= 0) & (areas > 0)
        total = np.bincount(self.owner[valid], weights=areas[valid])
        number = np.bincount(self.owner[valid])
        order = np.flatnonzero(total)[np.argsort(-total[total > 0], kind="stable")]
        return [(int(i), int(number[i]), float(total[i] / areas.sum())) for i in order]


def regions_to_paint(
    labels: np.ndarray,
    colors: np.ndarray,
    *,
    background: Sequence[int] = (),
    segment_ids: np.ndarray | None = None,
    segments_info: Sequence[dict[str, Any]] = (),
) -> PaintedRegions:
    """Decide what is painted of a result.

    Args:
        labels: (H, W) integers below K.
        colors: (K, 3) uint8 of the names.
        background: names whose regions stay unpainted.
        segment_ids: (H, W) segments of a panoptic method, 0 for none, painted in place of
            ``labels``.
        segments_info: Detectron2's list of them.
    """
    owner = np.arange(len(colors))
    regions, painted = labels, colors
    if segment_ids is not None:
        regions, owner = segment_ids, np.full(len(segments_info) + 1, -1)
        for info in segments_info:
            owner[info["id"]] = info["category_id"]
        painted = _shaded(colors, owner)
    plain = tuple(int(r) for r, name in enumerate(owner) if name < 0 or name in background)
    return PaintedRegions(regions, owner, painted, plain)


def _shaded(colors: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Colours of segments; those of one name differ in shade."""
    shaded = np.full((len(owner), 3), VOID_COLOR, dtype=np.uint8)
    seen: Counter[int] = Counter()
    for segment, name in enumerate(owner.tolist()):
        if name >= 0:
            shaded[segment] = np.clip(colors[name] * SHADES[seen[name] % len(SHADES)], 0, 255)
            seen[name] += 1
    return shaded
