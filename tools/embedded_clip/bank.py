"""A bank of rendered pictures with captions, kept as flat arrays for training the tiny CLIP.

Rendering costs about a millisecond a picture, a training step on the processor a few; the bank
takes the former off the latter's path. A bank either never shows a colour-thing pair that is held
out from captions, or shows nothing else; no caption of either kind names such a pair.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ovs_core.data.embedded.captions import Caption, short_sentences
from ovs_core.data.embedded.scenes import Scene, render_object, render_scene, render_stuff
from ovs_core.data.embedded.vocabulary import COLOURS, LARGE_NAMES, NUM_ATOMS, THINGS, unseen_pairs
from ovs_core.files.writing import atomic_folder, write_json

_CHUNK = 500
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
    """

    count: int
    height: int
    width: int
    objects: float
    stuff: float
    seed: int
    held_out: bool = False


class Bank:
    """Pictures, what is true of them, and their captions.

    Facts and claims have a column for each atom (see ``vocabulary``) and then for each colour.

    Attributes:
        images: (N, H, W, 3) uint8.
        facts: (N, A) uint8, 1 where an atom is true of a picture.
        tokens: (C, L) int16 token ids of all captions, a picture's captions side by side.
        claims: (C, A) uint8, 1 where a caption claims an atom.
        starts: (N + 1,) int64 range of captions of each picture.
        short: (30, S, L) int16 token ids of sentences about a bare thing or a bare colour.
    """

    def __init__(self, folder: Path, tokenize: Tokenize) -> None:
        self.images = np.load(folder / "images.npy", mmap_mode="r")
        arrays = np.load(folder / "captions.npz")
        self.facts = _with_colours(np.unpackbits(arrays["facts"], axis=1, count=NUM_ATOMS))
        self.claims = _with_colours(np.unpackbits(arrays["claims"], axis=1, count=NUM_ATOMS))
        self.tokens = arrays["tokens"]
        self.starts = arrays["starts"]
        self.short = np.stack([tokenize(texts) for texts in short_sentences()]).astype(np.int16)

    def draw(
        self, rng: np.random.Generator, size: int, *, short_share: float
    ) -> tuple[np.ndarray, ...]:
        """Draw pictures with one caption each.

        Args:
            rng: source of all choices.
            size: number of pictures B.
            short_share: share of the captions replaced by a sentence about a bare thing or colour.

        Returns:
            images (B, H, W, 3) uint8, facts (B, A), tokens (B, L) and claims (B, A).
        """
        picked = rng.integers(len(self.images), size=size)
        low, high = self.starts[picked], self.starts[picked + 1]
        caption = low + (rng.random(size) * (high - low)).astype(np.int64)
        images, facts = self.images[picked], self.facts[picked]
        tokens, claims = self.tokens[caption], self.claims[caption]
        flip = rng.random(size) < 0.5
        images[flip] = images[flip, :, ::-1]
        bare = facts[:, len(LARGE_NAMES) :]
        said = (bare * rng.random(bare.shape)).argmax(1)
        rows = np.flatnonzero(bare.any(1) & (rng.random(size) < short_share))
        tokens[rows] = self.short[said[rows], rng.integers(self.short.shape[1], size=len(rows))]
        claims[rows] = 0
        claims[rows, len(LARGE_NAMES) + said[rows]] = 1
        return images, facts, tokens, claims


def _with_colours(atoms: np.ndarray) -> np.ndarray:
    """Append a column for each colour: 1 where a pair of that colour is."""
    pairs = atoms[:, : len(THINGS) * len(COLOURS)].reshape(-1, len(THINGS), len(COLOURS))
    return np.concatenate([atoms, pairs.max(axis=1)], axis=1)


def ensure_bank(folder: Path, spec: BankSpec, tokenize: Tokenize, workers: int) -> Bank:
    """Load a bank, rendering it first if the folder does not hold exactly this one."""
    stamp = folder / "spec.json"
    if not stamp.exists() or json.loads(stamp.read_text()) != asdict(spec):
        with atomic_folder(folder) as part:
            _render_bank(part, spec, tokenize, workers)
            write_json(part / stamp.name, asdict(spec))
    return Bank(folder, tokenize)


def _render_bank(folder: Path, spec: BankSpec, tokenize: Tokenize, workers: int) -> None:
    shape = (spec.count, spec.height, spec.width, 3)
    np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, shape).flush()
    jobs = [
        (folder, spec, start, min(start + _CHUNK, spec.count))
        for start in range(0, spec.count, _CHUNK)
    ]
    facts: list[np.ndarray] = []
    captions: list[list[Caption]] = []
    with ProcessPoolExecutor(workers) as pool:
        chunks = pool.map(_render_chunk, jobs)
        for part, spoken in tqdm(chunks, "rendering", len(jobs), unit="chunk"):
            facts.append(part)
            captions += spoken
    flat = [caption for spoken in captions for caption in spoken]
    claims = np.zeros((len(flat), NUM_ATOMS), np.uint8)
    for row, caption in zip(claims, flat, strict=True):
        row[list(caption.atoms)] = 1
    np.savez(
        folder / "captions.npz",
        facts=np.packbits(np.concatenate(facts), axis=1),
        claims=np.packbits(claims, axis=1),
        tokens=tokenize([caption.text for caption in flat]).astype(np.int16),
        starts=np.cumsum([0] + [len(spoken) for spoken in captions]),
    )


def _render_chunk(job: tuple[Path, BankSpec, int, int]) -> tuple[np.ndarray, list[list[Caption]]]:
    folder, spec, start, stop = job
    images = np.load(folder / "images.npy", mmap_mode="r+")
    facts = np.zeros((stop - start, NUM_ATOMS), np.uint8)
    captions = []
    for i in range(start, stop):
        scene = _render_captioned(spec, spec.seed + i)
        images[i] = scene.image
        facts[i - start, list(scene.facts)] = 1
        # A sentence of five things is cut off by the context length: do not claim what is lost.
        spoken = [caption for caption in scene.captions if len(caption.atoms) <= 7]
        captions.append(spoken or list(scene.captions[1:]))
    images.flush()
    return facts, captions


def _render_captioned(spec: BankSpec, seed: int) -> Scene:
    # A picture of which nothing may be said (hidden things, slivers of stuff) is passed over.
    offset = 0
    while not (scene := _render(spec, seed, seed + offset)).captions:
        offset += 1_000_000_007
    return scene


def _render(spec: BankSpec, index: int, seed: int) -> Scene:
    size = (spec.height, spec.width)
    if spec.held_out:
        pairs = unseen_pairs()
        return render_object(seed, size, pair=divmod(pairs[index % len(pairs)], len(COLOURS)))
    kind = np.random.default_rng([index, 1]).random()
    if kind < spec.objects:
        return render_object(seed, size, unseen_pairs=False)
    if kind < spec.objects + spec.stuff:
        return render_stuff(seed, size)
    return render_scene(seed, size, unseen_pairs=False)
