"""Colours of words: the same word always begins with the same one, and neighbours differ."""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

Color = tuple[int, int, int]

VOID_COLOR: Color = (128, 128, 128)  # of pixels without a name
PANEL: Color = (250, 250, 250)  # ground of legends and sheets
WARNING: Color = (255, 236, 179)  # ground of what should not be overlooked
INK: Color = (32, 32, 32)  # of their letters

NEIGHBOURS, APART = 24, 34.0  # a word's colour differs that much (CIELAB) from those before it


def word_color(word: str) -> Color:
    """Give a word its colour: vivid, and always the same for the same word."""
    digest = hashlib.blake2b(word.casefold().encode(), digest_size=4).digest()
    hue = int.from_bytes(digest[:2], "big") / 65536
    saturation, value = 0.6 + digest[2] / 800, 0.7 + digest[3] / 900
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def number_colors(count: int) -> np.ndarray:
    """Colours of things without a name, neighbours far apart on the circle: (count, 3) uint8."""
    from matplotlib import colormaps

    hues = (np.arange(count) * 0.618034) % 1  # the golden ratio
    return (255 * colormaps["hsv"](hues)[:, :3]).astype(np.uint8).reshape(-1, 3)


def palette(names: Sequence[str]) -> np.ndarray:
    """Colours of a vocabulary, spread apart where two words would look alike: (K, 3) uint8."""
    return _palette(tuple(names)).copy()


@lru_cache(maxsize=32)
def _palette(names: tuple[str, ...]) -> np.ndarray:
    if not names:
        return np.zeros((0, 3), dtype=np.uint8)
    candidates = np.stack([_variants(word_color(name)) for name in names])  # (K, 36, 3)
    lab = cv2.cvtColor(candidates.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    chosen = np.zeros(len(names), dtype=int)
    for index in range(len(names)):
        before = range(max(0, index - NEIGHBOURS), index)
        taken = lab[before, chosen[before]]
        apart = np.linalg.norm(lab[index][:, None] - taken, axis=-1).min(axis=1, initial=np.inf)
        far = np.flatnonzero(apart > APART)
        chosen[index] = far[0] if len(far) else apart.argmax()
    return candidates[np.arange(len(names)), chosen]


def _variants(color: Color) -> np.ndarray:
    """A colour and others around the colour circle, then darker and paler ones: (36, 3) uint8."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(c / 255 for c in color))
    kinds = ((saturation, value), (saturation, 0.65 * value), (0.55 * saturation, value))
    turned = [
        colorsys.hsv_to_rgb((hue + step / 12) % 1, *kind) for kind in kinds for step in range(12)
    ]
    return np.round(255 * np.array(turned)).astype(np.uint8)
