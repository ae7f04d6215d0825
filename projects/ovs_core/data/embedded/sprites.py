"""The twenty things, each drawn once per colour and kept at several resolutions."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image, ImageFilter

from .pen import Pen, star_points
from .vocabulary import THINGS, colour_rgb

SIDE = 256
_SUPERSAMPLING = 3
_LEVELS = 4

GLASS = (176, 214, 238)
DARK = (44, 44, 50)
METAL = (188, 192, 198)
TRUNK = (104, 68, 40)
LEAF = (70, 138, 58)
CREAM = (244, 232, 206)
GOLD = (250, 206, 84)
WHITE = (250, 250, 250)

_DRAW: dict[str, Callable[[Pen], None]] = {}


def _thing(draw: Callable[[Pen], None]) -> Callable[[Pen], None]:
    _DRAW[draw.__name__.strip("_")] = draw
    return draw


@_thing
def _car(p: Pen) -> None:
    p.blob([(24, 52), (34, 28), (52, 24), (68, 30), (78, 52)], 0.92)
    p.poly([(32, 50), (38, 34), (50, 32), (50, 50)], GLASS)
    p.poly([(54, 50), (54, 32), (64, 35), (72, 50)], GLASS)
    p.rect(5, 48, 95, 72, 1.0, radius=10)
    p.rect(8, 62, 92, 66, 0.72)
    p.ellipse(90, 56, 4, 4, GOLD)
    p.rect(54, 54, 62, 56.5, 0.6, radius=1)
    for x in (27, 73):
        p.ellipse(x, 72, 12, 12, DARK)
        p.ellipse(x, 72, 5.5, 5.5, METAL)


@_thing
def _boat(p: Pen) -> None:
    p.line([(48, 8), (48, 70)], 3, TRUNK)
    p.poly([(51, 10), (51, 60), (90, 60)], 1.0)
    p.poly([(45, 18), (45, 60), (16, 60)], 1.45)
    p.poly([(5, 66), (95, 66), (80, 90), (22, 90)], 0.8)
    p.poly([(5, 66), (95, 66), (92, 72), (8, 72)], WHITE)


@_thing
def _house(p: Pen) -> None:
    p.rect(68, 12, 78, 34, 0.6)
    p.rect(16, 42, 84, 92, 1.0)
    p.poly([(4, 46), (50, 8), (96, 46)], 0.66)
    p.rect(42, 62, 58, 92, TRUNK)
    p.ellipse(54.5, 78, 1.6, 1.6, GOLD)
    for x in (22, 63):
        p.rect(x, 54, x + 15, 70, (255, 238, 150))
        p.rect(x + 6.6, 54, x + 8.4, 70, TRUNK)
        p.rect(x, 61, x + 15, 63, TRUNK)


@_thing
def _tree(p: Pen) -> None:
    p.poly([(43, 56), (57, 56), (62, 95), (38, 95)], TRUNK)
    for x, y, r in ((30, 46, 21), (70, 46, 21), (50, 27, 23), (50, 48, 24)):
        p.ellipse(x, y, r, r, 1.0)
    for x, y, r in ((38, 26, 7), (26, 44, 6), (60, 40, 7)):
        p.ellipse(x, y, r, r, 1.2)


@_thing
def _fish(p: Pen) -> None:
    p.poly([(70, 50), (96, 26), (90, 50), (96, 74)], 0.78)
    p.poly([(34, 34), (52, 14), (64, 34)], 0.78)
    p.poly([(40, 66), (50, 84), (60, 64)], 0.78)
    p.blob([(5, 52), (26, 32), (52, 30), (78, 50), (52, 71), (26, 70)], 1.0)
    for x in (44, 54, 64):
        p.ring(x - 8, 50, 12, 2, 0.7, -50, 50)
    p.ellipse(21, 46, 6, 6, WHITE)
    p.ellipse(20, 46, 3, 3, DARK)
    p.line([(8, 58), (16, 60)], 2, 0.5)


@_thing
def _flower(p: Pen) -> None:
    p.line([(50, 46), (52, 72), (50, 96)], 5, LEAF)
    p.blob([(50, 84), (62, 68), (82, 66), (72, 82)], LEAF)
    p.blob([(50, 90), (38, 76), (20, 74), (30, 88)], LEAF)
    for i in range(6):
        a = math.pi * i / 3
        p.ellipse(50 + 20 * math.cos(a), 36 + 20 * math.sin(a), 14.5, 14.5, 1.0)
    p.ellipse(50, 36, 12, 12, GOLD)
    p.ellipse(50, 36, 5, 5, (206, 140, 40))


@_thing
def _mushroom(p: Pen) -> None:
    p.blob([(40, 50), (60, 50), (63, 80), (68, 94), (32, 94), (37, 80)], CREAM)
    p.slice(50, 54, 45, 46, 180, 360, 1.0)
    p.ellipse(50, 54, 45, 7, 0.82)
    for x, y, r in ((50, 24, 8), (26, 38, 6.5), (74, 38, 6.5), (50, 44, 4.5)):
        p.ellipse(x, y, r, r * 0.9, WHITE)


@_thing
def _balloon(p: Pen) -> None:
    p.line([(50, 70), (46, 80), (54, 88), (49, 97)], 2, DARK)
    p.blob([(50, 3), (79, 22), (74, 52), (50, 69), (26, 52), (21, 22)], 1.0)
    p.poly([(50, 66), (56, 74), (44, 74)], 0.75)
    p.ellipse(37, 24, 6, 10, 1.65)


@_thing
def _kite(p: Pen) -> None:
    p.line([(50, 70), (58, 80), (46, 88), (54, 97)], 2, DARK)
    for x, y in ((56, 79), (48, 88)):
        p.poly([(x, y), (x - 7, y - 4), (x - 7, y + 4)], 0.8)
        p.poly([(x, y), (x + 7, y - 4), (x + 7, y + 4)], 0.8)
    p.poly([(50, 3), (82, 30), (50, 72), (18, 30)], 1.0)
    p.poly([(50, 3), (82, 30), (50, 30)], 1.35)
    p.poly([(50, 30), (50, 72), (18, 30)], 0.7)
    p.line([(50, 3), (50, 72)], 1.6, DARK)
    p.line([(18, 30), (82, 30)], 1.6, DARK)


@_thing
def _umbrella(p: Pen) -> None:
    p.slice(50, 56, 46, 48, 180, 360, 1.0)
    p.poly([(50, 8), (34, 56), (66, 56)], 1.28)
    for x in (11.5, 34, 66, 88.5):
        p.cut(x, 57, 11.5, 6)
    p.cut(50, 57, 6, 4)
    p.line([(50, 46), (50, 84)], 3.4, DARK)
    p.ring(41, 84, 10.6, 3.4, DARK, 0, 180)
    p.line([(50, 4), (50, 9)], 3, DARK)


@_thing
def _cup(p: Pen) -> None:
    p.ring(76, 52, 19, 7, 0.86)
    p.poly([(14, 24), (76, 24), (71, 90), (19, 90)], 1.0)
    p.ellipse(45, 90, 26, 5, 1.0)
    p.ellipse(45, 24, 31, 8, 1.3)
    p.ellipse(45, 25, 26, 5.5, (84, 50, 30))
    p.poly([(16, 50), (74.2, 50), (73.2, 62), (17, 62)], 1.5)


@_thing
def _key(p: Pen) -> None:
    p.ring(26, 50, 22, 9, 1.0)
    p.rect(46, 45.5, 96, 54.5, 1.0, radius=2)
    p.rect(78, 52, 84, 70, 0.9, radius=1)
    p.rect(89, 52, 95, 66, 0.9, radius=1)
    p.rect(52, 42, 57, 58, 0.75, radius=1)


@_thing
def _heart(p: Pen) -> None:
    curve = []
    for i in range(80):
        t = 2 * math.pi * i / 80
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        curve.append((50 + 2.7 * x, 47 - 2.7 * y))
    p.poly(curve, 1.0)
    p.ellipse(30, 32, 7, 9, 1.6)


@_thing
def _star(p: Pen) -> None:
    p.poly(star_points(50, 53, 49, 20.5, 5), 1.0)
    p.poly(star_points(50, 53, 27, 11, 5), 1.3)


@_thing
def _butterfly(p: Pen) -> None:
    for s in (-1, 1):
        p.line([(50, 30), (50 + s * 12, 10)], 2, DARK)
        p.ellipse(50 + s * 12, 10, 2.6, 2.6, DARK)
        p.blob([(50, 46), (50 + s * 20, 18), (50 + s * 45, 16), (50 + s * 42, 46),
                (50 + s * 18, 54)], 1.0)  # fmt: skip
        p.blob([(50, 52), (50 + s * 28, 54), (50 + s * 36, 74), (50 + s * 20, 88),
                (50 + s * 6, 70)], 0.82)  # fmt: skip
        p.ellipse(50 + s * 29, 33, 8, 7, 1.6)
        p.ellipse(50 + s * 20, 68, 5, 5, 1.5)
    p.ellipse(50, 53, 4.5, 27, DARK)


@_thing
def _rocket(p: Pen) -> None:
    p.poly([(42, 80), (50, 98), (58, 80)], (250, 176, 40))
    p.poly([(46, 80), (50, 90), (54, 80)], (255, 236, 130))
    p.poly([(32, 52), (12, 84), (34, 78)], 0.66)
    p.poly([(68, 52), (88, 84), (66, 78)], 0.66)
    p.blob([(50, 0), (67, 26), (69, 58), (62, 82), (38, 82), (31, 58), (33, 26)], 1.0)
    p.ellipse(50, 38, 11, 11, METAL)
    p.ellipse(50, 38, 8, 8, GLASS)
    p.rect(34, 62, 66, 67, 1.5)


@_thing
def _bell(p: Pen) -> None:
    p.ring(50, 12, 8, 4, 0.7)
    p.ellipse(50, 86, 9, 9, 0.55)
    p.blob([(50, 14), (68, 24), (74, 54), (88, 80), (50, 84), (12, 80), (26, 54), (32, 24)], 1.0)
    p.rect(8, 74, 92, 84, 0.78, radius=5)
    p.blob([(36, 30), (42, 28), (38, 52), (34, 66), (30, 66)], 1.55)


@_thing
def _bird(p: Pen) -> None:
    for x in (44, 55):
        p.line([(x, 74), (x + 1, 94), (x + 8, 95)], 2.4, (224, 142, 40))
    p.poly([(78, 26), (97, 33), (78, 38)], (244, 168, 40))
    p.poly([(26, 54), (3, 40), (4, 64)], 0.72)
    p.blob([(14, 54), (36, 46), (58, 36), (78, 44), (72, 70), (48, 80), (26, 70)], 1.0)
    p.ellipse(70, 30, 17, 17, 1.0)
    p.blob([(26, 56), (44, 50), (62, 58), (46, 70)], 0.7)
    p.ellipse(74, 27, 4.6, 4.6, WHITE)
    p.ellipse(75, 27, 2.4, 2.4, DARK)


@_thing
def _ball(p: Pen) -> None:
    p.ellipse(50, 50, 46, 46, 1.0)
    p.ellipse(50, 50, 30, 46, WHITE)
    p.ellipse(50, 50, 13, 46, 1.0)
    p.ellipse(50, 5, 7, 2.5, 0.7)


@_thing
def _hat(p: Pen) -> None:
    p.ellipse(50, 80, 47, 11, 0.84)
    p.poly([(26, 18), (74, 18), (72, 80), (28, 80)], 1.0)
    p.ellipse(50, 80, 22, 5.5, 1.0)
    p.ellipse(50, 18, 24, 6, 1.22)
    p.poly([(27.4, 60), (72.6, 60), (72, 76), (28, 76)], 0.5)
    p.rect(44, 61, 56, 75, GOLD, radius=1)


@lru_cache(maxsize=len(THINGS) * 10)
def sprite_levels(thing: int, colour: int) -> tuple[Image.Image, ...]:
    """A coloured thing at sides 256, 128, 64 and 32, upright and shaded.

    Returns:
        Pictures of mode ``RGBa`` (colours already multiplied by coverage), largest first.
    """
    pen = Pen(colour_rgb(colour), SIDE * _SUPERSAMPLING)
    _DRAW[THINGS[thing]](pen)
    full = _shade(pen.image.convert("RGBa").reduce(_SUPERSAMPLING))
    return tuple(full if k == 0 else full.reduce(2**k) for k in range(_LEVELS))


def sprite_for(thing: int, colour: int, side: float) -> Image.Image:
    """The smallest kept picture of a thing that is not blurred at this side (in pixels)."""
    levels = sprite_levels(thing, colour)
    return next((im for im in reversed(levels) if im.width >= side), levels[0])


def _shade(flat: Image.Image) -> Image.Image:
    """Give a flat drawing a soft bevel lit from the upper left, and a darker rim."""
    pixels = np.asarray(flat).astype(np.float32)
    alpha = flat.getchannel(3)
    hull = np.asarray(alpha.filter(ImageFilter.GaussianBlur(SIDE / 14)), np.float32) / 255
    rim = np.asarray(alpha.filter(ImageFilter.GaussianBlur(SIDE / 90)), np.float32) / 255
    slope_y, slope_x = np.gradient(hull)
    light = 1.0 + 9.0 * (0.6 * slope_x + 0.8 * slope_y)
    fall = np.linspace(1.06, 0.92, SIDE, dtype=np.float32)[:, None]
    edge = 0.62 + 0.38 * np.clip((rim - 0.5) * 2.6, 0.0, 1.0)
    rgb = pixels[..., :3] * (np.clip(light, 0.72, 1.3) * fall * edge)[..., None]
    pixels[..., :3] = np.minimum(rgb, pixels[..., 3:])
    return Image.fromarray((pixels + 0.5).astype(np.uint8), "RGBa")
