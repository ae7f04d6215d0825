"""Rendering of banks of pictures by several processes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ovs_core.data.embedded.captions import Caption
from ovs_core.data.embedded.scenes import render_object, render_scene, render_stuff
from ovs_core.data.embedded.sprites import sprite_levels
from ovs_core.data.embedded.textures import texture_levels
from ovs_core.data.embedded.vocabulary import COLOURS, NUM_ATOMS, STUFF, THINGS, unseen_pairs

from .windows import Shown, cut_windows, whole

_CHUNK = 500
_WINDOWS_PER_SCENE = 4
# Share of the windowed scenes that may show held-out pairs; no caption names those.
_UNSEEN_SCENES = 0.25
Tokenize = Callable[[list[str]], np.ndarray]


@dataclass(frozen=True)
class BankSpec:
    """What a bank holds.

    Attributes:
        count: number of pictures.
        height: height of every picture in pixels.
        width: width of every picture in pixels.
        objects: share of object-centred pictures.
        stuff: share of close views of stuff; the rest are scenes.
        seed: first picture seed.
        held_out: whether every picture shows one thing of a held-out pair, instead of none.
        scene: height and width of scenes of which every picture is a window; none if empty.
    """

    count: int
    height: int
    width: int
    objects: float
    stuff: float
    seed: int
    held_out: bool = False
    scene: tuple[int, ...] = ()


def render_bank(folder: Path, spec: BankSpec, tokenize: Tokenize, workers: int) -> None:
    """Render pictures and captions of a bank into files of a folder."""
    shape = (spec.count, spec.height, spec.width, 3)
    np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, shape).flush()
    jobs = [
        (folder, spec, start, min(start + _CHUNK, spec.count))
        for start in range(0, spec.count, _CHUNK)
    ]
    facts: list[np.ndarray] = []
    glimpsed: list[np.ndarray] = []
    captions: list[list[Caption]] = []
    _draw_sprites_and_textures()
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        chunks = pool.map(_render_chunk, jobs)
        for true, in_view, spoken in tqdm(chunks, "rendering", len(jobs), unit="chunk"):
            facts.append(true)
            glimpsed.append(in_view)
            captions += spoken
    flat = [caption for spoken in captions for caption in spoken]
    claims = np.zeros((len(flat), NUM_ATOMS), np.uint8)
    for row, caption in zip(claims, flat, strict=True):
        row[list(caption.atoms)] = 1
    np.savez(
        folder / "captions.npz",
        facts=np.packbits(np.concatenate(facts), axis=1),
        glimpsed=np.packbits(np.concatenate(glimpsed), axis=1),
        claims=np.packbits(claims, axis=1),
        tokens=tokenize([caption.text for caption in flat]).astype(np.int16),
        starts=np.cumsum([0] + [len(spoken) for spoken in captions]),
    )


def _draw_sprites_and_textures() -> None:
    """Fill their caches once, before the workers are forked, rather than in each of them."""
    for stuff in range(len(STUFF)):
        texture_levels(stuff)
    for thing in range(len(THINGS)):
        for colour in range(len(COLOURS)):
            sprite_levels(thing, colour)


def _render_chunk(
    job: tuple[Path, BankSpec, int, int],
) -> tuple[np.ndarray, np.ndarray, list[list[Caption]]]:
    folder, spec, start, stop = job
    images = np.load(folder / "images.npy", mmap_mode="r+")
    facts, glimpsed = np.zeros((2, stop - start, NUM_ATOMS), np.uint8)
    captions = []
    shown = _windows(spec, start) if spec.scene else _pictures(spec, start)
    for row in range(stop - start):
        picture = next(shown)
        images[start + row] = picture.image
        facts[row], glimpsed[row] = picture.facts, picture.glimpsed
        # A sentence of five things is cut off by the context length: do not claim what is lost.
        spoken = [caption for caption in picture.captions if len(caption.atoms) <= 7]
        captions.append(spoken or list(picture.captions[1:]))
    images.flush()
    return facts, glimpsed, captions


def _windows(spec: BankSpec, start: int) -> Iterator[Shown]:
    """Windows without end; a chunk's scenes start at its own seed and never reach the next's."""
    height, width = spec.scene
    for seed in itertools.count(spec.seed + start):
        unseen = float(np.random.default_rng([seed, 2]).random()) < _UNSEEN_SCENES
        yield from cut_windows(
            seed, (height, width), spec.height, _WINDOWS_PER_SCENE, unseen_pairs=unseen
        )


def _pictures(spec: BankSpec, start: int) -> Iterator[Shown]:
    for index in itertools.count(start):
        yield _render_captioned(spec, spec.seed + index)


def _render_captioned(spec: BankSpec, seed: int) -> Shown:
    # A picture of which nothing may be said (hidden things, slivers of stuff) is passed over.
    offset = 0
    while not (scene := _render(spec, seed, seed + offset)).captions:
        offset += 1_000_000_007
    return scene


def _render(spec: BankSpec, index: int, seed: int) -> Shown:
    size = (spec.height, spec.width)
    if spec.held_out:
        pairs = unseen_pairs()
        pair = divmod(pairs[index % len(pairs)], len(COLOURS))
        return whole(render_object(seed, size, pair=pair))
    kind = np.random.default_rng([index, 1]).random()
    if kind < spec.objects:
        return whole(render_object(seed, size, unseen_pairs=False))
    if kind < spec.objects + spec.stuff:
        return whole(render_stuff(seed, size))
    return whole(render_scene(seed, size, unseen_pairs=False))
