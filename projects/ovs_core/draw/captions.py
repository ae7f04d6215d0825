"""Names written into the regions of a picture that are large enough for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from .fonts import Font, font_for

GRID = 160  # cells of the longer side of the map in which places are looked for
FLAT = 2.5  # a text is about this much wider than it is high


def draw_captions(
    picture: np.ndarray, regions: np.ndarray, captions: Mapping[int, str], size: int
) -> np.ndarray:
    """Write names where they fit.

    Args:
        picture: (H, W, 3) uint8.
        regions: (H, W) region per pixel.
        captions: regions that occur -> their names.
        size: of the letters in pixels; a narrow region gets smaller ones, down to 70 %.

    Returns:
        (H, W, 3) uint8.
    """
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    places = _places(regions, list(captions))
    for text, (x, y, room) in zip(captions.values(), places, strict=True):
        font = _fitting(text, size, room)
        if font is not None:
            outline = max(1, round(font.size / 9))
            draw.text((x, y), text, fill="white", font=font, anchor="mm",
                      stroke_width=outline, stroke_fill=(20, 20, 20))  # fmt: skip
    return np.asarray(canvas)


def _places(regions: np.ndarray, numbers: Sequence[int]) -> list[tuple[float, float, float]]:
    """Widest place in each region: centre (x, y) and half the width of its ellipse."""
    step = max(1, max(regions.shape) // GRID)
    small = np.pad(regions[step // 2 :: step, step // 2 :: step], 1, constant_values=-1)
    inside = np.ones(small.shape, dtype=bool)
    inside[:, 1:] &= small[:, 1:] == small[:, :-1]
    inside[1:] &= small[1:] == small[:-1]
    inside[0] = inside[:, 0] = False
    distance = ndimage.distance_transform_edt(inside, sampling=(FLAT, 1))
    spots = ndimage.maximum_position(distance, small, numbers) if numbers else []
    found = []
    for row, column in spots:
        room = distance[row, column] if small[row, column] in numbers else 0.0
        found.append(((column - 0.5) * step, (row - 0.5) * step, room * step))
    return found


def _fitting(text: str, size: int, room: float) -> Font | None:
    """The largest font, of up to ``size`` pixels, in which a text fits the ellipse."""
    for tried in (size, round(0.85 * size), round(0.7 * size)):
        font = font_for(text, tried)
        half_width, half_height = font.getlength(text) / 2, 0.6 * tried
        if half_width**2 + (FLAT * half_height) ** 2 <= room**2:
            return font
    return None
