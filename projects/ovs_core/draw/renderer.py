"""Pictures of results: overlays, legends, sheets. One renderer for commands, page and documents.

The same input gives the same picture. Letters: K names, R regions, H x W picture.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from .captions import Caption, draw_captions
from .colors import palette
from .fonts import font_for
from .regions import VOID_COLOR, Regions, find_regions

PANEL = (250, 250, 250)
INK = (32, 32, 32)
LONGEST, SHORTEST = 2048, 512  # pixels between which `render` brings the longer side
LEGEND_WIDTH = 320  # pixels that a legend needs at least
MANY_NAMES = 30  # of a legend; more are written smaller


def colorize(labels: np.ndarray, colors: np.ndarray, ignore: int | None = None) -> np.ndarray:
    """Paint a label map.

    Args:
        labels: (H, W) integers.
        colors: (K, 3) uint8.
        ignore: label shown in grey.

    Returns:
        (H, W, 3) uint8.
    """
    table = np.vstack([colors, np.array([VOID_COLOR], dtype=np.uint8)])
    return table[_index(labels, len(colors), ignore)]


def overlay(
    image: np.ndarray,
    labels: np.ndarray,
    colors: np.ndarray,
    *,
    strength: float = 0.55,
    ignore: int | None = None,
    unpainted: Sequence[int] = (),
) -> np.ndarray:
    """Lay a label map over its picture, with a light line between regions.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) integers.
        colors: (K, 3) uint8.
        strength: 0 shows the picture only, 1 the colours only.
        ignore: label shown in grey.
        unpainted: labels of which the picture alone is shown.

    Returns:
        (H, W, 3) uint8.
    """
    index = _index(labels, len(colors), ignore)
    table = np.vstack([colors, np.array([VOID_COLOR], dtype=np.uint8)]).astype(np.uint16)
    weight = np.full(len(table), round(256 * strength), dtype=np.uint16)
    weight[list(unpainted)] = 0
    mixed = image * (256 - weight)[index][..., None]
    mixed += (table * weight[:, None])[index]
    mixed >>= 8
    mixed = mixed.astype(np.uint8)
    mixed[_borders(labels, 1 + min(labels.shape) // 700)] = 255
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


def legend(names: Sequence[str], colors: np.ndarray, width: int, *, size: int = 13) -> np.ndarray:
    """Draw colour chips with names in columns, in as many rows as are needed.

    Args:
        names: K names.
        colors: (K, 3) uint8.
        width: of the panel in pixels.
        size: of the letters in pixels.

    Returns:
        (h, width, 3) uint8.
    """
    pad, row, chip = round(0.7 * size), round(1.55 * size), size
    room = width - 2 * pad - chip - round(0.5 * size)
    fonts = [font_for(name, size) for name in names]
    shown = [_shortened(n, f, room) for n, f in zip(names, fonts, strict=True)]
    needed = [f.getlength(n) for n, f in zip(shown, fonts, strict=True)]
    column = round(max(needed, default=0) + 0.5 * size + chip + 1.4 * size)
    columns = max(1, min(len(names), (width - 2 * pad) // column))
    rows = -(-len(names) // columns)
    column = max(column, min((width - 2 * pad) // columns, 2 * column))  # spread over the width
    panel = Image.new("RGB", (width, rows * row + 2 * pad), PANEL)
    draw = ImageDraw.Draw(panel)
    for place, (name, font, color) in enumerate(zip(shown, fonts, colors, strict=True)):
        left = pad + (place % columns) * column
        middle = pad + (place // columns) * row + row / 2
        box = (left, middle - chip / 2, left + chip, middle + chip / 2)
        draw.rounded_rectangle(box, radius=chip * 0.2, fill=tuple(int(c) for c in color))
        draw.text((left + 1.5 * chip, middle), name, fill=INK, font=font, anchor="lm")
    return np.asarray(panel)


def with_legend(
    image: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    *,
    strength: float = 0.55,
    ignore: int | None = None,
) -> np.ndarray:
    """Overlay with the names of the classes that occur below it, largest first.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) integers below K or ``ignore``.
        names: K names.
        strength: of the overlay.
        ignore: label without a name.

    Returns:
        (H', W, 3) uint8.
    """
    colors = palette(names)
    present, counts = np.unique(labels, return_counts=True)
    order = [int(i) for i in present[np.argsort(-counts)] if 0 <= i < len(names) and i != ignore]
    shown = overlay(image, labels, colors, strength=strength, ignore=ignore)
    panel = legend([names[i] for i in order], colors[order], image.shape[1])
    return np.vstack([shown, panel])


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

    Returns:
        (H', W', 3) uint8; the longer side of the picture is brought to 512..2048 pixels.
    """
    colors = palette(names)
    regions = find_regions(labels, colors, background=background, segment_ids=segment_ids,
                           segments_info=segments_info)  # fmt: skip
    image, fitted = _fitted(image, regions.map)
    size = text_size(image.shape)
    shown = overlay(image, fitted, regions.colors, strength=strength, unpainted=regions.plain)
    areas = np.bincount(regions.map.ravel())
    named = [r for r in np.flatnonzero(areas) if r not in regions.plain]
    shown = draw_captions(shown, fitted, [Caption(r, names[regions.owner[r]]) for r in named], size)
    return _above_legend(shown, names, colors, regions, size) if with_legend else shown


def percent(share: float) -> str:
    """Write a share for people: a whole percentage, or that it is below one."""
    return f"{100 * share:.0f} %" if share >= 0.01 else "<1 %"


def text_size(shape: Sequence[int]) -> int:
    """Height of letters that suits a picture of (H, W), in pixels."""
    return int(np.clip(round(0.026 * (shape[0] * shape[1]) ** 0.5), 12, 44))


def sheet(
    rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str] = (), *, gap: int = 6
) -> np.ndarray:
    """Set pictures side by side, one row per sample, one column per kind.

    Args:
        rows: pictures (h, w, 3) uint8; cells of a column may differ in size.
        titles: column titles.
        gap: pixels between cells.

    Returns:
        (H, W, 3) uint8.
    """
    columns = max(len(row) for row in rows)
    widths = [max(row[c].shape[1] for row in rows if c < len(row)) for c in range(columns)]
    heights = [max(cell.shape[0] for cell in row) for row in rows]
    size = int(np.clip(min(widths) // 22, 13, 26))
    top = round(1.7 * size) if titles else 0
    whole = (sum(widths) + gap * (columns + 1), top + sum(heights) + gap * (len(rows) + 1))
    canvas = Image.new("RGB", whole, PANEL)
    draw = ImageDraw.Draw(canvas)
    lefts = [gap + sum(widths[:c]) + gap * c for c in range(columns)]
    for title, left, width in zip(titles, lefts, widths, strict=False):
        font = font_for(title, size)
        shown = _shortened(title, font, width)
        draw.text((left, top / 2 + gap / 2), shown, fill=INK, font=font, anchor="lm")
    y = top + gap
    for row, height in zip(rows, heights, strict=True):
        for cell, left in zip(row, lefts, strict=False):
            canvas.paste(Image.fromarray(cell), (left, y))
        y += height + gap
    return np.asarray(canvas)


def _index(labels: np.ndarray, count: int, ignore: int | None) -> np.ndarray:
    """Labels as rows of a table of ``count`` colours and, last, that of everything else."""
    index = labels.astype(np.intp)
    void = (index < 0) | (index >= count)
    if ignore is not None:
        void |= index == ignore
    index[void] = count
    return index


def _borders(labels: np.ndarray, thickness: int) -> np.ndarray:
    edge = np.zeros(labels.shape, dtype=bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    for _ in range(thickness - 1):
        edge[:, 1:] |= edge[:, :-1].copy()
        edge[1:] |= edge[:-1].copy()
    return edge


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
    shown: np.ndarray, names: Sequence[str], colors: np.ndarray, regions: Regions, size: int
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


def _shortened(text: str, font: Any, room: float) -> str:
    """Cut a text that is wider than ``room`` pixels."""
    text = text[:200].replace("\n", " ")
    if font.getlength(text) <= room:
        return text
    while len(text) > 1 and font.getlength(text + "...") > room:
        text = text[:-1]
    return text + "..."
