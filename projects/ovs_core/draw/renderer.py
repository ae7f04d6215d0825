"""A result as people see it: colours, names in the larger regions, a legend below.

One renderer for commands, page and documents. The same input gives the same picture. Letters:
K names, H x W picture.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from .captions import draw_captions
from .colors import PANEL, palette
from .legends import legend, percent, remark
from .overlays import overlay
from .regions import PaintedRegions, regions_to_paint

LONGEST, SHORTEST = 2048, 512  # pixels between which `render` brings the longer side
LEGEND_WIDTH = 320  # pixels that a legend needs at least
MANY_NAMES = 30  # of a legend; more are written smaller


def render(
    image: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    *,
    strength: float = 0.5,
    background: Sequence[int] = (),
    segment_ids: np.ndarray | None = None,
    segments_info: Sequence[dict[str, Any]] = (),
    with_legend: bool = True,
    note: str = "",
) -> np.ndarray:
    """Draw a result for people: colours, names in the larger regions, a legend below.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) integers below K.
        names: K names.
        strength: 0 shows the picture only, 1 the colours only.
        background: names whose regions stay unpainted.
        segment_ids: (H, W) segments of a panoptic method, 0 for none, drawn in place of ``labels``.
        segments_info: Detectron2's list of them.
        with_legend: whether the names stand below.
        note: a sentence that stands below all.

    Returns:
        (H', W', 3) uint8; the longer side of the picture is brought to 512..2048 pixels.
    """
    colors = palette(names)
    regions = regions_to_paint(labels, colors, background=background, segment_ids=segment_ids,
                           segments_info=segments_info)  # fmt: skip
    image, fitted = _fitted(image, regions.map)
    size = _text_size(image.shape)
    shown = overlay(image, fitted, regions.colors, strength=strength, unpainted=regions.plain)
    areas = np.bincount(regions.map.ravel())
    named = [int(r) for r in np.flatnonzero(areas) if r not in regions.plain]
    captions = {r: names[regions.owner[r]] for r in named}
    shown = draw_captions(shown, fitted, captions, size)
    shown = _above_legend(shown, names, colors, regions, size) if with_legend else shown
    return np.vstack([shown, remark(note, shown.shape[1], size=size)]) if note else shown


def _text_size(shape: Sequence[int]) -> int:
    """Height of letters that suits a picture of (H, W), in pixels."""
    return int(np.clip(round(0.026 * (shape[0] * shape[1]) ** 0.5), 12, 44))


def _fitted(image: np.ndarray, regions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Enlarge a very small picture by a whole factor, reduce a very large one."""
    height, width = regions.shape
    longer = max(height, width)
    factor = LONGEST / longer if longer > LONGEST else max(1, SHORTEST // longer)
    if factor == 1:
        return image, regions
    size = tuple(max(1, round(side * factor)) for side in (height, width))
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1)
        for new, old in zip(size, (height, width), strict=True)
    )
    picture = Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC)
    return np.asarray(picture), regions[rows][:, columns]


def _above_legend(
    shown: np.ndarray, names: Sequence[str], colors: np.ndarray, regions: PaintedRegions, size: int
) -> np.ndarray:
    """Put a legend below: the names that occur, largest first, with their number and share."""
    found = regions.by_name()
    order, words = [index for index, _, _ in found], []
    for index, number, share in found:
        count = f" x{number}" if number > 1 else ""
        words.append(f"{_left_to_right(names[index])}{count}  {percent(share)}")
    size = max(11, round(0.8 * size)) if len(words) > MANY_NAMES else size
    width = max(shown.shape[1], LEGEND_WIDTH)
    if shown.shape[1] < width:
        side = np.full((shown.shape[0], width - shown.shape[1], 3), PANEL, dtype=np.uint8)
        shown = np.hstack([shown, side])
    return np.vstack([shown, legend(words, colors[order], width, size=size)])


def _left_to_right(name: str) -> str:
    """Keep what follows a name in Arabic or Hebrew script behind it."""
    turned = any(unicodedata.bidirectional(char) in ("R", "AL") for char in name)
    return f"\u200e{name}\u200e" if turned else name
