"""Panels that say which colour is which name. Letters: K names, H x W picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from .colors import INK, PANEL, WARNING, palette
from .fonts import font_for, shorten
from .overlays import overlay


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
    shown = [shorten(n, f, room) for n, f in zip(names, fonts, strict=True)]
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


def remark(text: str, width: int, *, size: int = 13) -> np.ndarray:
    """Write a sentence that whoever looks at a picture should read, in as many lines as it takes.

    Args:
        text: the sentence.
        width: of the panel in pixels.
        size: of the letters in pixels.

    Returns:
        (h, width, 3) uint8.
    """
    pad, row, font = round(0.7 * size), round(1.4 * size), font_for(text, size)
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width - 2 * pad or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    panel = Image.new("RGB", (width, len(lines) * row + 2 * pad), WARNING)
    draw = ImageDraw.Draw(panel)
    for number, line in enumerate(lines):
        place = (pad, pad + (number + 0.5) * row)
        draw.text(place, shorten(line, font, width - 2 * pad), fill=INK, font=font, anchor="lm")
    return np.asarray(panel)


def with_legend(image: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Overlay with the names of the classes that occur below it, largest first.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) integers; what is no index of a name has none.
        names: K names.

    Returns:
        (H', W, 3) uint8.
    """
    colors = palette(names)
    present, counts = np.unique(labels, return_counts=True)
    order = [int(i) for i in present[np.argsort(-counts)] if 0 <= i < len(names)]
    panel = legend([names[i] for i in order], colors[order], image.shape[1])
    return np.vstack([overlay(image, labels, colors), panel])


def percent(share: float) -> str:
    """Write a share for people: a whole percentage, or that it is below one."""
    return f"{100 * share:.0f} %" if share >= 0.01 else "<1 %"
