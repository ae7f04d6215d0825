"""Pictures that are not of the embedded world, made up: the other side of ``world.py``.

Clouds of noise as natural pictures have it (1/f), dead leaves (shapes that hide each other), both
together, pages of lines, and drawn scenes in colours that they never have.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from ovs_core.data.embedded.scenes import render_scene

Maker = Callable[[np.random.Generator, int, int], np.ndarray]


def draw_foreign(rng: np.random.Generator) -> np.ndarray:
    """Draw one, (H, W, 3) uint8."""
    height = int(rng.integers(64, 200))
    width = int(np.clip(height * rng.uniform(0.6, 1.7), 64, 256))
    make = _KINDS[int(rng.choice(len(_KINDS), p=_SHARES))]
    return np.clip(make(rng, height, width), 0, 255).astype(np.uint8)


def _cloud(rng: np.random.Generator, height: int, width: int, power: float) -> np.ndarray:
    """(H, W) noise of mean 0 and deviation 1 whose amplitude falls as 1 / frequency^power."""
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    frequency = np.hypot(rows, columns) * max(height, width)
    frequency[0, 0] = 1
    wave = rng.standard_normal(frequency.shape) + 1j * rng.standard_normal(frequency.shape)
    wave[0, 0] = 0
    noise = np.fft.irfft2(wave / frequency**power, (height, width))
    return (noise - noise.mean()) / (noise.std() + 1e-9)


def _palette(rng: np.random.Generator, count: int) -> list[np.ndarray]:
    """Colours of a picture: few hues, mostly pale."""
    hue, paleness = rng.random(), rng.choice([0, 0.1, 0.3, 0.6, 1])
    spread = rng.choice([0.02, 0.1, 0.4])
    return [
        255 * np.array(colorsys.hsv_to_rgb((hue + rng.normal(0, spread)) % 1,
                                           min(1, paleness * rng.uniform(0.3, 1.2)),
                                           rng.beta(1.2, 1.2)))
        for _ in range(count)
    ]  # fmt: skip


def _clouds(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    light = _cloud(rng, height, width, rng.uniform(0.7, 2.2)) * rng.uniform(15, 70)
    tint = [_cloud(rng, height, width, rng.uniform(0.7, 2.2)) for _ in range(3)]
    lit = light[..., None] * rng.uniform(0.7, 1.2, 3)
    return _palette(rng, 1)[0] + lit + np.stack(tint, -1) * rng.choice([0, 3, 10, 25])


def _leaves(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    colours = [tuple(int(c) for c in one) for one in _palette(rng, int(rng.integers(8, 300)))]
    image = Image.new("RGB", (width, height), colours[0])
    draw, kind = ImageDraw.Draw(image), rng.integers(3)
    for colour in colours:
        radius = max(height, width) * min(0.6, 0.02 * (1 - rng.random()) ** (-1 / 1.5))
        y, x = rng.random(2) * (height, width)
        flat = radius * rng.uniform(0.2, 1)
        if kind == 0:
            draw.ellipse([x - radius, y - flat, x + radius, y + flat], fill=colour)
        elif kind == 1:
            draw.rectangle([x - radius, y - flat, x + radius, y + flat], fill=colour)
        else:
            turns = np.sort(rng.random(int(rng.integers(3, 8)))) * 2 * np.pi
            reach = radius * rng.uniform(0.4, 1.2, len(turns))
            corners = zip(x + reach * np.cos(turns), y + reach * np.sin(turns), strict=True)
            draw.polygon(list(corners), fill=colour)
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 4))))
    shown = np.asarray(image, np.float32)
    shown = shown + _cloud(rng, height, width, 1.0)[..., None] * rng.choice([0, 5, 15, 35])
    shade = _cloud(rng, height, width, 2.5) * rng.uniform(0, 0.5)
    return shown * np.exp(shade)[..., None]


def _both(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    where = _cloud(rng, height, width, 2) > rng.normal(0, 0.5)
    return np.where(where[..., None], _leaves(rng, height, width), _clouds(rng, height, width))


def _page(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    paper = int(rng.choice([255, 245, 20, 230]))
    shown = np.full((height, width, 3), paper, np.float32)
    for _ in range(int(rng.integers(5, 60))):
        y, x = int(rng.integers(height)), int(rng.integers(width))
        colour = rng.uniform(0, 255, 3) if rng.random() < 0.3 else 255 - paper
        shown[y : y + int(rng.integers(1, 6)), x : x + int(rng.integers(5, 80))] = colour
    return shown


def _repainted(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A scene in grey, with its channels exchanged, inverted, dark and pale, or folded."""
    drawn = render_scene(int(rng.integers(2**31)), (height, width)).image / 255
    grey = drawn.mean(-1, keepdims=True)
    orders = ((1, 2, 0), (2, 0, 1), (1, 0, 2), (2, 1, 0), (0, 2, 1))
    painted = (
        grey * rng.uniform(0.6, 1, 3),
        drawn[..., orders[int(rng.integers(len(orders)))]],
        1 - drawn,
        (grey + (drawn - grey) * rng.uniform(0.1, 0.5)) ** rng.uniform(1.3, 3),
        np.abs(drawn - rng.random(3)),
    )
    return 255 * painted[int(rng.integers(len(painted)))]


_KINDS: tuple[Maker, ...] = (_leaves, _clouds, _both, _page, _repainted)
_SHARES = (0.35, 0.25, 0.2, 0.05, 0.15)
