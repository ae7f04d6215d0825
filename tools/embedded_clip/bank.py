"""A bank of rendered pictures with captions, kept as flat arrays for training the tiny CLIP.

Rendering costs about a millisecond a picture, a training step on the processor a few; the bank
takes the former off the latter's path. No caption ever names a colour-thing pair that is held out.
Object-centred banks never show such a pair, or show nothing else; scenes of windows may show one.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ovs_core.data.embedded.captions import short_sentences
from ovs_core.data.embedded.vocabulary import COLOURS, LARGE_NAMES, NUM_ATOMS, THINGS
from ovs_core.files.writing import atomic_folder, write_json

from .render import BankSpec, Tokenize, render_bank


class Bank:
    """Pictures, what is true of them, and their captions.

    Facts and claims have a column for each atom (see ``vocabulary``) and then for each colour.

    Attributes:
        images: (N, H, W, 3) uint8.
        facts: (N, A) uint8, 1 where an atom is true of a picture.
        glimpsed: (N, A) uint8, 1 where it is in view at all, be it too little to be said.
        tokens: (C, L) int16 token ids of all captions, a picture's captions side by side.
        claims: (C, A) uint8, 1 where a caption claims an atom.
        starts: (N + 1,) int64 range of captions of each picture.
        short: (30, S, L) int16 token ids of sentences about a bare thing or a bare colour.
    """

    def __init__(self, folder: Path, tokenize: Tokenize) -> None:
        self.images = np.load(folder / "images.npy", mmap_mode="r")
        arrays = np.load(folder / "captions.npz")
        self.facts = _with_colours(np.unpackbits(arrays["facts"], axis=1, count=NUM_ATOMS))
        self.glimpsed = _with_colours(np.unpackbits(arrays["glimpsed"], axis=1, count=NUM_ATOMS))
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
            images (B, H, W, 3) uint8, facts and glimpsed (B, A), tokens (B, L), claims (B, A).
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
        return images, facts, self.glimpsed[picked], tokens, claims


def _with_colours(atoms: np.ndarray) -> np.ndarray:
    """Append a column for each colour: 1 where a pair of that colour is."""
    pairs = atoms[:, : len(THINGS) * len(COLOURS)].reshape(-1, len(THINGS), len(COLOURS))
    return np.concatenate([atoms, pairs.max(axis=1)], axis=1)


def ensure_bank(folder: Path, spec: BankSpec, tokenize: Tokenize, workers: int) -> Bank:
    """Load a bank, rendering it first if the folder does not hold exactly this one."""
    stamp = folder / "spec.json"
    if not stamp.exists() or json.loads(stamp.read_text()) != _stated(spec):
        with atomic_folder(folder) as part:
            render_bank(part, spec, tokenize, workers)
            write_json(part / stamp.name, _stated(spec))
    return Bank(folder, tokenize)


def _stated(spec: BankSpec) -> dict[str, object]:
    return asdict(spec) | {"scene": list(spec.scene)}
