"""The eight kinds of stuff as large seamless-looking pictures, drawn once and cropped often."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image

from .vocabulary import STUFF

SIDE = 768
Field = np.ndarray
_DRAW: dict[str, Callable[[np.random.Generator], Field]] = {}


def _stuff(draw: Callable[[np.random.Generator], Field]) -> Callable[..., Field]:
    _DRAW[draw.__name__.strip("_")] = draw
    return draw


@lru_cache(maxsize=len(STUFF))
def texture_levels(stuff: int) -> tuple[Image.Image, ...]:
    """RGB pictures of a kind of stuff at sides 768, 384, 192 and 96, largest first."""
    rgb = _DRAW[STUFF[stuff]](np.random.default_rng([7301, stuff]))
    full = Image.fromarray(np.clip(rgb, 0, 255).astype(np.uint8))
    return tuple(full if k == 0 else full.reduce(2**k) for k in range(4))


def texture_crop(stuff: int, box: tuple[float, float, float, float],
                 size: tuple[int, int]) -> np.ndarray:  # fmt: skip
    """Cut a window out of a texture and bring it to a size.

    Args:
        stuff: index of the kind of stuff.
        box: left, top, right, bottom as shares (0..1) of the texture.
        size: height and width of the result in pixels.

    Returns:
        (H, W, 3) float32 in 0..255.
    """
    height, width = size
    levels = texture_levels(stuff)
    span = box[2] - box[0]
    level = next((im for im in reversed(levels) if im.width * span >= width), levels[0])
    left, top, right, bottom = (edge * level.width for edge in box)
    crop = level.resize((width, height), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    return np.asarray(crop, np.float32)


def _noise(rng: np.random.Generator, cells_y: int, cells_x: int) -> Field:
    """Smooth noise in 0..1 with about this many bumps along each side."""
    grid = Image.fromarray(rng.random((cells_y, cells_x), dtype=np.float32))
    return np.clip(np.asarray(grid.resize((SIDE, SIDE), Image.Resampling.BICUBIC)), 0, 1)


def _fractal(rng: np.random.Generator, cells: int, octaves: int, stretch: int = 1) -> Field:
    """Sum of noises, each octave twice as fine and half as strong; 0..1."""
    layers = [
        0.5**k * _noise(rng, cells * 2**k, max(2, cells * 2**k // stretch)) for k in range(octaves)
    ]
    return np.sum(layers, axis=0) / (2 - 0.5 ** (octaves - 1))


def _mix(share: Field, low: tuple[float, ...], high: tuple[float, ...]) -> Field:
    """(SIDE, SIDE, 3) blend from one colour to the other."""
    weight = np.clip(share, 0, 1)[..., None]
    return np.asarray(low, np.float32) * (1 - weight) + np.asarray(high, np.float32) * weight


def _axes() -> tuple[Field, Field]:
    line = np.linspace(0, 1, SIDE, endpoint=False, dtype=np.float32)
    return line[:, None] + 0 * line[None], line[None] + 0 * line[:, None]


@_stuff
def _sky(rng: np.random.Generator) -> Field:
    cloud = np.clip((_fractal(rng, 5, 5) - 0.47) * 5.0, 0, 1)
    blue = _mix(_noise(rng, 3, 3), (112, 180, 246), (158, 208, 250))
    return blue + cloud[..., None] * (np.array([252, 253, 255], np.float32) - blue) * 0.92


@_stuff
def _sea(rng: np.random.Generator) -> Field:
    y, x = _axes()
    warp = 1.3 * _fractal(rng, 4, 3) + 0.05 * np.sin(40 * x)
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * (13 * y + 2.2 * warp))
    deep = _mix(_fractal(rng, 4, 3), (10, 48, 112), (26, 96, 152))
    crest = np.clip((wave - 0.62) * 2.6, 0, 1) * (0.35 + 0.65 * _fractal(rng, 10, 2))
    return deep + crest[..., None] * np.array([70, 96, 88], np.float32)


@_stuff
def _grass(rng: np.random.Generator) -> Field:
    blades = 0.55 * _noise(rng, 60, 170) + 0.45 * _fractal(rng, 30, 3)
    patch = _fractal(rng, 6, 3)
    base = _mix((blades - 0.28) * 2.2, (34, 82, 20), (142, 190, 62))
    return base * (0.82 + 0.36 * patch)[..., None]


@_stuff
def _sand(rng: np.random.Generator) -> Field:
    y, x = _axes()
    warp = _fractal(rng, 4, 3)
    ripple = 0.5 + 0.5 * np.sin(2 * np.pi * (11 * y + 2.5 * x + 2.4 * warp))
    grain = rng.random((SIDE, SIDE), dtype=np.float32)
    tone = 0.42 * ripple + 0.3 * _fractal(rng, 5, 3) + 0.28 * grain
    return _mix(tone, (192, 158, 100), (250, 226, 172))


@_stuff
def _snow(rng: np.random.Generator) -> Field:
    drift = np.clip((_fractal(rng, 4, 4) - 0.3) * 2.2, 0, 1)
    base = _mix(drift, (206, 216, 236), (250, 251, 255))
    sparkle = (rng.random((SIDE // 4, SIDE // 4)) > 0.988).astype(np.float32)
    dots = np.asarray(Image.fromarray(sparkle).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    return base - np.clip(dots, 0, 1)[..., None] * np.array([96, 62, 26], np.float32)


@_stuff
def _brick(rng: np.random.Generator) -> Field:
    y, x = _axes()
    rows, columns = 18, 9
    row = np.floor(y * rows)
    shifted = x * columns + 0.5 * (row % 2)
    tone = rng.random((rows, columns + 1))[row.astype(int), np.floor(shifted).astype(int)]
    edge_y = np.abs(y * rows % 1 - 0.5) * 2
    edge_x = np.abs(shifted % 1 - 0.5) * 2
    face = np.clip(np.minimum((0.84 - edge_y) * 12, (0.92 - edge_x) * 24), 0, 1)
    clay = _mix(tone, (134, 48, 38), (206, 100, 74))
    clay *= ((0.84 + 0.3 * _fractal(rng, 40, 3)) * (1.1 - 0.22 * (y * rows % 1)))[..., None]
    mortar = _mix(_fractal(rng, 50, 2), (176, 166, 152), (214, 206, 192))
    return mortar + face[..., None] * (clay - mortar)


@_stuff
def _wood(rng: np.random.Generator) -> Field:
    y, x = _axes()
    planks = 9
    plank = np.floor(x * planks).astype(int)
    tone = rng.random(planks)[plank]
    offset = rng.random(planks)[plank]
    warp = _fractal(rng, 3, 3)
    grain = 0.5 + 0.5 * np.sin(2 * np.pi * (26 * x + 3.2 * warp + 5 * offset))
    fibre = _noise(rng, 14, 240)
    base = _mix(0.45 * tone + 0.3 * grain + 0.3 * fibre, (94, 54, 28), (190, 130, 78))
    seam = np.clip((0.5 - np.abs(x * planks % 1 - 0.5)) * 24, 0, 1)
    joint = np.clip(np.abs((y * 2.5 + 3 * offset) % 1 - 0.5) * 120, 0, 1)
    return base * (0.35 + 0.65 * np.minimum(seam, joint))[..., None]


@_stuff
def _stone(rng: np.random.Generator) -> Field:
    cells = 13
    y, x = (axis * cells for axis in _axes())
    centre = rng.random((cells, cells, 2)) * 0.62 + 0.19
    tone = rng.random((cells, cells))
    first = np.full((SIDE, SIDE), 9.0)
    second = first.copy()
    shade = np.zeros((SIDE, SIDE))
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            cy, cx = np.floor(y).astype(int) + dy, np.floor(x).astype(int) + dx
            jitter = centre[cy % cells, cx % cells]
            distance = np.hypot(y - cy - jitter[..., 0], x - cx - jitter[..., 1])
            nearer = distance < first
            second = np.where(nearer, first, np.minimum(second, distance))
            shade = np.where(nearer, tone[cy % cells, cx % cells], shade)
            first = np.where(nearer, distance, first)
    dome = np.clip((second - first - 0.1) * 5, 0, 1)
    face = _mix(shade, (112, 112, 112), (190, 188, 182)) * (1.12 - 0.5 * first)[..., None]
    face *= (0.84 + 0.32 * _fractal(rng, 30, 3))[..., None]
    return np.array([52, 52, 54], np.float32) + dome[..., None] * (face - 52)
