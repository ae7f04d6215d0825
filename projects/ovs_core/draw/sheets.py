"""Pictures side by side under titles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from .colors import INK, PANEL
from .fonts import font_for, shorten


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
        shown = shorten(title, font, width)
        draw.text((left, top / 2 + gap / 2), shown, fill=INK, font=font, anchor="lm")
    y = top + gap
    for row, height in zip(rows, heights, strict=True):
        for cell, left in zip(row, lefts, strict=False):
            canvas.paste(Image.fromarray(cell), (left, y))
        y += height + gap
    return np.asarray(canvas)
