"""Scenes of the embedded world: planned from a seed, then painted at any size.

A plan knows nothing of pixels, so one seed gives the same scene at 64 and at 512 pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from .captions import Caption, make_captions
from .layout import Division, draw_layout
from .sprites import sprite_for
from .textures import texture_crop
from .vocabulary import (
    COLOURS,
    STUFF,
    THINGS,
    atom_of_stuff,
    atom_of_thing,
    is_unseen_pair,
    pair_id,
)

_SCENE_STREAM, _OBJECT_STREAM, _NOISE_STREAM = 11, 12, 13
_NAMEABLE_SHARE = 0.4
_NAMEABLE_STUFF = 0.05


@dataclass(frozen=True)
class Placement:
    """One thing in a scene: where (shares of the frame), how large (share of its shorter side)."""

    thing: int
    colour: int
    y: float
    x: float
    side: float
    turn: float
    mirrored: bool
    gain: float


@dataclass(frozen=True)
class Plan:
    """Everything that a scene shows, independent of the picture's size."""

    seed: int
    stuff: tuple[int, ...]
    layout: Division
    windows: np.ndarray
    placements: tuple[Placement, ...]
    light: np.ndarray
    grain: float
    stream: int


@dataclass(frozen=True)
class Scene:
    """A painted scene with its exact ground truth.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        semantic: (H, W) uint8 ids of the 28 classes.
        large: (H, W) uint8 ids of the 208 names.
        panoptic: (H, W) uint8 segment ids, starting at 1.
        segments_info: one dict per segment: id, category_id (28 classes), large_id, isthing, area.
        facts: atoms (see ``vocabulary``) that are true of the picture, hidden things left out.
        captions: sentences about the picture, the most complete one first.
    """

    image: np.ndarray
    semantic: np.ndarray
    large: np.ndarray
    panoptic: np.ndarray
    segments_info: list[dict[str, Any]]
    facts: frozenset[int]
    captions: tuple[Caption, ...]


def render_scene(seed: int, size: int | tuple[int, int], *, unseen_pairs: bool = True) -> Scene:
    """Paint a scene of one to three kinds of stuff and one to five things.

    Args:
        seed: picks the scene; the same seed gives the same scene at every size.
        size: side, or height and width, in pixels (64 to 512 are meant).
        unseen_pairs: whether things may have the colours that no caption names.
    """
    rng = np.random.default_rng([seed, _SCENE_STREAM])
    regions = int(rng.choice(3, p=[0.25, 0.45, 0.3])) + 1
    count = int(rng.integers(1, 6))
    sides = rng.uniform(0.17, 0.42, count) * (1.0 if count > 2 else 1.2)
    places = _spread(rng, sides)
    things = [
        _draw_thing(rng, float(y), float(x), float(side), unseen_pairs)
        for (y, x), side in zip(places, sides, strict=True)
    ]
    return paint(_draw_ground(rng, seed, regions, things, (0.34, 0.5), _SCENE_STREAM), size)


def render_object(seed: int, size: int | tuple[int, int], *, unseen_pairs: bool = True,
                  pair: tuple[int, int] | None = None) -> Scene:  # fmt: skip
    """Paint an object-centred picture: one thing that fills half of the frame or more.

    Args:
        seed: picks the picture.
        size: side, or height and width, in pixels.
        unseen_pairs: whether the thing may have a colour that no caption names for it.
        pair: thing and colour to show, instead of drawn ones.
    """
    rng = np.random.default_rng([seed, _OBJECT_STREAM])
    regions = 1 if rng.random() < 0.6 else 2
    y, x = rng.uniform(0.4, 0.6, 2)
    thing = _draw_thing(rng, float(y), float(x), float(rng.uniform(0.5, 0.98)), unseen_pairs, pair)
    return paint(_draw_ground(rng, seed, regions, [thing], (0.12, 0.45), _OBJECT_STREAM), size)


def render_stuff(seed: int, size: int | tuple[int, int]) -> Scene:
    """Paint a close view of one or two kinds of stuff with nothing on it."""
    rng = np.random.default_rng([seed, _OBJECT_STREAM, 1])
    regions = 1 if rng.random() < 0.7 else 2
    return paint(_draw_ground(rng, seed, regions, [], (0.12, 0.5), _OBJECT_STREAM), size)


def _spread(rng: np.random.Generator, sides: np.ndarray, tries: int = 12) -> np.ndarray:
    """(N, 2) centres (y, x), each the first of some draws that overlaps little with the others."""
    margin = 0.36 * sides[:, None, None]
    draws = margin + rng.random((len(sides), tries, 2)) * (1 - 2 * margin)
    chosen = draws[:, 0].copy()
    for i in range(1, len(sides)):
        gap = np.hypot(*np.moveaxis(draws[i, :, None] - chosen[None, :i], -1, 0))
        slack = (gap - 0.4 * (sides[i] + sides[:i])).min(axis=1)
        chosen[i] = draws[i, np.argmax(slack >= 0) if (slack >= 0).any() else np.argmax(slack)]
    return chosen


def _draw_thing(rng: np.random.Generator, y: float, x: float, side: float, unseen_pairs: bool,
                pair: tuple[int, int] | None = None) -> Placement:  # fmt: skip
    thing, colour = int(rng.integers(len(THINGS))), int(rng.integers(len(COLOURS)))
    shift = int(rng.integers(1, 5))
    if pair is not None:
        thing, colour = pair
    elif not unseen_pairs and is_unseen_pair(thing, colour):
        colour = (colour + shift) % len(COLOURS)
    turn = math.radians(rng.uniform(-22, 22))
    return Placement(thing, colour, y, x, side, turn, bool(rng.random() < 0.5),
                     float(rng.uniform(0.88, 1.08)))  # fmt: skip


def _draw_ground(rng: np.random.Generator, seed: int, regions: int, things: list[Placement],
                 zoom: tuple[float, float], stream: int) -> Plan:  # fmt: skip
    stuff = tuple(int(s) for s in rng.permutation(len(STUFF))[:regions])
    layout = draw_layout(rng, regions)
    windows = np.stack([rng.uniform(*zoom, regions), rng.random(regions), rng.random(regions)], 1)
    light = rng.uniform(0.86, 1.1) * rng.uniform(0.97, 1.03, 3)
    return Plan(seed, stuff, layout, windows, tuple(things), light.astype(np.float32),
                float(rng.uniform(1.5, 6.0)), stream)  # fmt: skip


def paint(plan: Plan, size: int | tuple[int, int]) -> Scene:
    """Paint a plan at a size and read off its ground truth."""
    height, width = (size, size) if isinstance(size, int) else size
    canvas, region = _paint_ground(plan, height, width)
    owner = np.full((height, width), -1, np.int16)
    areas = [
        _paint_thing(canvas, owner, index, placement)
        for index, placement in enumerate(plan.placements)
    ]
    noise = np.random.default_rng([plan.seed, plan.stream, _NOISE_STREAM])
    canvas *= plan.light
    canvas += plan.grain * noise.standard_normal((height, width, 1), dtype=np.float32)
    image = np.clip(canvas + 0.5, 0, 255).astype(np.uint8)
    return _annotate(plan, image, region, owner, areas)


def _paint_ground(plan: Plan, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Canvas (H, W, 3) float32 and index (H, W) of the region that owns each pixel."""
    unit = min(height, width)
    grounds = []
    for stuff, (zoom, u, v) in zip(plan.stuff, plan.windows, strict=True):
        span_x, span_y = min(1.0, zoom * width / unit), min(1.0, zoom * height / unit)
        left, top = u * (1 - span_x), v * (1 - span_y)
        box = (left, top, left + span_x, top + span_y)
        grounds.append(texture_crop(stuff, box, (height, width)))
    if len(grounds) == 1:
        return grounds[0].copy(), np.zeros((height, width), np.int64)
    margins = plan.layout.margins(height, width)
    weights = np.clip(margins + 0.5, 0, 1)
    weights /= weights.sum(0)
    canvas = sum(w[..., None] * g for w, g in zip(weights, grounds, strict=True))
    return canvas, margins.argmax(0)


def _paint_thing(canvas: np.ndarray, owner: np.ndarray, index: int, place: Placement) -> int:
    """Paint one thing over the canvas, with a soft shadow; return its full area in pixels."""
    height, width = owner.shape
    side = place.side * min(height, width)
    picture = sprite_for(place.thing, place.colour, side)
    reach = side * 0.5 * (abs(math.cos(place.turn)) + abs(math.sin(place.turn)))
    cy, cx = place.y * height, place.x * width
    top, left = math.floor(cy - reach), math.floor(cx - reach)
    extent = math.ceil(2 * reach) + 1
    step = picture.width / side
    cos, sin = step * math.cos(place.turn), step * math.sin(place.turn)
    flip = -1.0 if place.mirrored else 1.0
    oy, ox, middle = top - cy, left - cx, picture.width / 2
    matrix = (flip * cos, flip * sin, middle + flip * (cos * ox + sin * oy),
              -sin, cos, middle - sin * ox + cos * oy)  # fmt: skip
    patch = np.asarray(picture.transform((extent, extent), Image.Transform.AFFINE, matrix,
                                         Image.Resampling.BILINEAR), np.float32)  # fmt: skip
    _shadow(canvas, patch[..., 3], top + max(1, round(0.05 * side)), left + round(0.03 * side))
    rows, columns, part = _overlap(patch, top, left, height, width)
    cover = part[..., 3:] / 255
    canvas[rows, columns] = canvas[rows, columns] * (1 - cover) + place.gain * part[..., :3]
    solid = part[..., 3] > 127
    owner[rows, columns][solid] = index
    return int((patch[..., 3] > 127).sum())


def _shadow(canvas: np.ndarray, alpha: np.ndarray, top: int, left: int) -> None:
    rows, columns, part = _overlap(alpha, top, left, *canvas.shape[:2])
    canvas[rows, columns] *= 1 - 0.22 / 255 * part[..., None]


def _overlap(patch: np.ndarray, top: int, left: int, height: int,
             width: int) -> tuple[slice, slice, np.ndarray]:  # fmt: skip
    """Rows and columns of the frame that a patch at (top, left) covers, and that part of it."""
    y0, x0 = max(0, top), max(0, left)
    y1 = max(y0, min(height, top + patch.shape[0]))
    x1 = max(x0, min(width, left + patch.shape[1]))
    return slice(y0, y1), slice(x0, x1), patch[y0 - top : y1 - top, x0 - left : x1 - left]


def _annotate(plan: Plan, image: np.ndarray, region: np.ndarray, owner: np.ndarray,
              areas: list[int]) -> Scene:  # fmt: skip
    """Read labels, segments, facts and captions off a painted scene."""
    count = len(plan.placements)
    kinds = [(p.thing, pair_id(p.thing, p.colour), True) for p in plan.placements]
    kinds += [(len(THINGS) + s, atom_of_stuff(s), False) for s in plan.stuff]
    index = np.where(owner >= 0, owner, count + region)
    visible = np.bincount(index.ravel(), minlength=len(kinds))
    segments = [
        {"id": i + 1, "category_id": semantic, "large_id": large, "isthing": isthing,
         "area": int(visible[i])}
        for i, (semantic, large, isthing) in enumerate(kinds) if visible[i] > 0
    ]  # fmt: skip
    things = [
        (p.thing, p.colour) for i, p in enumerate(plan.placements)
        if visible[i] >= _NAMEABLE_SHARE * areas[i]
    ]  # fmt: skip
    stuff = [
        s for i, s in enumerate(plan.stuff) if visible[count + i] > _NAMEABLE_STUFF * index.size
    ]
    facts = {pair_id(*pair) for pair in things} | {atom_of_thing(t) for t, _ in things}
    facts |= {atom_of_stuff(plan.stuff[i]) for i in range(len(plan.stuff)) if visible[count + i]}
    table = np.array([[semantic, large] for semantic, large, _ in kinds], np.uint8)
    words = np.random.default_rng([plan.seed, plan.stream, _NOISE_STREAM, 1])
    return Scene(
        image=image,
        semantic=table[index, 0],
        large=table[index, 1],
        panoptic=(index + 1).astype(np.uint8),
        segments_info=segments,
        facts=frozenset(facts),
        captions=make_captions(words, things, stuff),
    )
