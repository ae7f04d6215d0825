"""Windows of whole scenes, at the scale at which scenes are segmented, and what they show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ovs_core.data.embedded.captions import Caption, make_captions
from ovs_core.data.embedded.scenes import Scene, render_scene
from ovs_core.data.embedded.vocabulary import (
    COLOURS,
    NUM_ATOMS,
    THINGS,
    atom_of_stuff,
    atom_of_thing,
)

# A thing is a fact of a window that shows this share of it, and is captioned from the next one on.
_FACT_SHARE, _CAPTION_SHARE = 0.25, 0.5
_LEAST_PIXELS = 50
_CAPTIONED_STUFF = 0.05


@dataclass(frozen=True)
class Shown:
    """A picture for the bank.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        facts: (A,) uint8, 1 where an atom is well in view.
        glimpsed: (A,) uint8, 1 where an atom is in view at all; includes the facts.
        captions: sentences about it.
    """

    image: np.ndarray
    facts: np.ndarray
    glimpsed: np.ndarray
    captions: tuple[Caption, ...]


def whole(scene: Scene) -> Shown:
    """Show all of a scene."""
    facts = np.zeros(NUM_ATOMS, np.uint8)
    facts[list(scene.facts)] = 1
    glimpsed = facts.copy()
    for segment in scene.segments_info:
        glimpsed[_atoms(segment)] = 1
    return Shown(scene.image, facts, glimpsed, scene.captions)


def cut_windows(seed: int, scene_size: tuple[int, int], side: int, count: int, *,
                unseen_pairs: bool) -> list[Shown]:  # fmt: skip
    """Cut square windows out of one scene; those of which nothing may be said are left out.

    Args:
        seed: scene seed.
        scene_size: height and width of the scene in pixels.
        side: side of the windows in pixels.
        count: how many windows are tried.
        unseen_pairs: whether the scene may show pairs that no caption names.
    """
    scene = render_scene(seed, scene_size, unseen_pairs=unseen_pairs)
    rng = np.random.default_rng([seed, side])
    tops = rng.integers(0, scene_size[0] - side + 1, count)
    lefts = rng.integers(0, scene_size[1] - side + 1, count)
    windows = (_cut(rng, scene, int(y), int(x), side) for y, x in zip(tops, lefts, strict=True))
    return [window for window in windows if window.captions]


def _cut(rng: np.random.Generator, scene: Scene, top: int, left: int, side: int) -> Shown:
    rows, columns = slice(top, top + side), slice(left, left + side)
    visible = np.bincount(scene.panoptic[rows, columns].ravel(), minlength=256)
    facts, glimpsed = np.zeros((2, NUM_ATOMS), np.uint8)
    things, stuff = [], []
    for segment in scene.segments_info:
        seen = int(visible[segment["id"]])
        if not seen:
            continue
        glimpsed[_atoms(segment)] = 1
        if not segment["isthing"]:
            facts[_atoms(segment)] = 1
            if seen > _CAPTIONED_STUFF * side * side:
                stuff.append(segment["category_id"] - len(THINGS))
        elif seen >= _FACT_SHARE * segment["area"] and seen > _LEAST_PIXELS:
            facts[_atoms(segment)] = 1
            if seen >= _CAPTION_SHARE * segment["area"]:
                things.append((segment["category_id"], segment["large_id"] % len(COLOURS)))
    captions = make_captions(rng, things, stuff)
    return Shown(scene.image[rows, columns], facts, glimpsed, captions)


def _atoms(segment: dict[str, int]) -> list[int]:
    if segment["isthing"]:
        return [segment["large_id"], atom_of_thing(segment["category_id"])]
    return [atom_of_stuff(segment["category_id"] - len(THINGS))]
