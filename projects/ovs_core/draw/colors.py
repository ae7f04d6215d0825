"""Colours of words: as far apart as can be for the words at hand, each near to its own."""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from .vision import oklab, separation

Color = tuple[int, int, int]

VOID_COLOR: Color = (128, 128, 128)  # of pixels without a name
PANEL: Color = (250, 250, 250)  # ground of legends and sheets
WARNING: Color = (255, 236, 179)  # ground of what should not be overlooked
INK: Color = (32, 32, 32)  # of their letters

LEVELS = 9  # of red, green and blue, of which colours are chosen
VIVID, DARKEST, PALEST = 0.09, 0.38, 0.92  # least chroma, and bounds of lightness (Oklab)
NAMED = 0.06  # least distance from the grey of pixels without a name
FEW = 24  # colours for which the search is thorough


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
    """Colours of a vocabulary: (K, 3) uint8.

    They are as far apart as can be for as many words, for people with a red-green deficiency too;
    of them each word gets one near its own, so that it looks alike in most vocabularies. Beyond
    some hundred words colours come again.
    """
    return _palette(tuple(names)).copy()


@lru_cache(maxsize=32)
def _palette(names: tuple[str, ...]) -> np.ndarray:
    most = len(_candidates())
    blocks = [names[at : at + most] for at in range(0, len(names), most)]
    return np.concatenate([np.zeros((0, 3), np.uint8), *map(_dealt, blocks)])


def _dealt(names: tuple[str, ...]) -> np.ndarray:
    """Deal colours out so that all words together get as near to their own as can be."""
    colors = _spread(len(names))
    own = np.array([word_color(name) for name in names], dtype=np.uint8)
    away = np.linalg.norm(oklab(own)[:, None] - oklab(colors), axis=-1)
    # Of scipy's two ways to do it the one that loads in half the time; it takes 0 for no edge.
    _, dealt = min_weight_full_bipartite_matching(csr_array(away + 1))
    return colors[dealt]


@lru_cache(maxsize=1)
def _candidates() -> np.ndarray:
    """Colours that stand out from pictures' whites, blacks and greys: (N, 3) uint8."""
    steps = np.linspace(0, 255, LEVELS).round().astype(np.uint8)
    every = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lightness, *axes = oklab(every).T
    vivid = (np.hypot(*axes) >= VIVID) & (lightness >= DARKEST) & (lightness <= PALEST)
    nameless = np.array([VOID_COLOR], dtype=np.uint8)
    return every[vivid & (separation(every, nameless)[:, 0] >= NAMED)]


@lru_cache(maxsize=64)
def _spread(count: int) -> np.ndarray:
    """Choose candidates whose smallest distance is as large as a search finds: (count, 3) uint8.

    Farthest-point sampling, for few colours from every first one; then one of the closest two is
    exchanged as long as that helps.
    """
    colors = _candidates()
    apart = separation(colors, colors).round(6)  # rounded: equal on all machines
    chosen = np.arange(len(colors) if count <= FEW else 1)[:, None]
    nearest = apart[chosen[:, 0]]
    for _ in range(count - 1):
        furthest = nearest.argmax(axis=1)
        smallest = nearest.max(axis=1)
        chosen = np.hstack([chosen, furthest[:, None]])
        nearest = np.minimum(nearest, apart[furthest])
    best = chosen[smallest.argmax()] if count > 1 else chosen[0]
    return colors[_exchanged(best, apart) if 1 < count <= FEW else best]


def _exchanged(chosen: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """Exchange colours that are too close for better ones, while there are any."""
    chosen = chosen.copy()
    while True:
        among = apart[np.ix_(chosen, chosen)] + 2 * np.eye(len(chosen))
        for place in np.unravel_index(among.argmin(), among.shape):
            rest = np.delete(chosen, place)
            nearest = apart[:, rest].min(axis=1)
            if nearest.max() > among.min():
                chosen[place] = nearest.argmax()
                break
        else:
            return chosen
