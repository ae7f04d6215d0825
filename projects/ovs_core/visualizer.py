"""Pictures of results: overlays, legends, sheets. One renderer for commands, page and documents."""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]

PANEL = (250, 250, 250)
INK = (32, 32, 32)
ROW = 18
VOID_COLOR = (128, 128, 128)


def word_color(word: str) -> Color:
    """Give a word its colour: vivid, and always the same for the same word."""
    digest = hashlib.blake2b(word.casefold().encode(), digest_size=4).digest()
    hue = int.from_bytes(digest[:2], "big") / 65536
    saturation, value = 0.55 + digest[2] / 640, 0.75 + digest[3] / 1020
    return tuple(round(255 * c) for c in colorsys.hsv_to_rgb(hue, saturation, value))


def palette(names: Sequence[str]) -> np.ndarray:
    """Colours of a vocabulary, spread apart where two words would look alike: (K, 3) uint8."""
    chosen: list[Color] = []
    for name in names:
        color = np.array(word_color(name), dtype=int)
        for step in range(12):
            shifted = _rotate_hue(color, step * 0.083)
            if all(np.abs(shifted - np.array(c)).sum() > 90 for c in chosen[-24:]):
                break
        chosen.append(tuple(int(v) for v in shifted))
    return np.array(chosen, dtype=np.uint8).reshape(-1, 3)


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
    index = labels.astype(np.int64)
    void = (index < 0) | (index >= len(colors))
    if ignore is not None:
        void |= index == ignore
    return table[np.where(void, len(colors), index)]


def overlay(
    image: np.ndarray,
    labels: np.ndarray,
    colors: np.ndarray,
    *,
    strength: float = 0.55,
    ignore: int | None = None,
) -> np.ndarray:
    """Lay a label map over its picture, with a light line between regions.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) integers.
        colors: (K, 3) uint8.
        strength: 0 shows the picture only, 1 the colours only.
        ignore: label shown in grey.

    Returns:
        (H, W, 3) uint8.
    """
    paint = colorize(labels, colors, ignore)
    weight = round(256 * strength)
    mixed = (image.astype(np.uint16) * (256 - weight) + paint.astype(np.uint16) * weight) >> 8
    mixed = mixed.astype(np.uint8)
    mixed[_borders(labels)] = 255
    return mixed


def legend(names: Sequence[str], colors: np.ndarray, width: int) -> np.ndarray:
    """Draw colour chips with names, in as many rows as are needed: (h, width, 3) uint8."""
    font = ImageFont.load_default(size=12)
    places, x, y = [], 6, 4
    for name in names:
        needed = 18 + int(font.getlength(name)) + 10
        if x + needed > width and x > 6:
            x, y = 6, y + ROW
        places.append((x, y))
        x += needed
    panel = Image.new("RGB", (width, y + ROW + 4), PANEL)
    draw = ImageDraw.Draw(panel)
    for name, color, (x, y) in zip(names, colors, places, strict=True):
        draw.rectangle((x, y + 3, x + 11, y + 14), fill=tuple(int(c) for c in color))
        draw.text((x + 16, y + 1), name, fill=INK, font=font)
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
    top = 22 if titles else 0
    size = (sum(widths) + gap * (columns + 1), top + sum(heights) + gap * (len(rows) + 1))
    canvas = Image.new("RGB", size, PANEL)
    draw = ImageDraw.Draw(canvas)
    lefts = [gap + sum(widths[:c]) + gap * c for c in range(columns)]
    for title, left in zip(titles, lefts, strict=False):
        draw.text((left, 5), title, fill=INK, font=ImageFont.load_default(size=13))
    y = top + gap
    for row, height in zip(rows, heights, strict=True):
        for cell, left in zip(row, lefts, strict=False):
            canvas.paste(Image.fromarray(cell), (left, y))
        y += height + gap
    return np.asarray(canvas)


def save_picture(picture: np.ndarray, path: str | Path) -> Path:
    """Write a (H, W, 3) uint8 picture; folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
    return path


def _borders(labels: np.ndarray) -> np.ndarray:
    edge = np.zeros(labels.shape, dtype=bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    return edge


def _rotate_hue(color: np.ndarray, turn: float) -> np.ndarray:
    hue, saturation, value = colorsys.rgb_to_hsv(*(color / 255))
    return np.round(
        255 * np.array(colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value))
    ).astype(int)
