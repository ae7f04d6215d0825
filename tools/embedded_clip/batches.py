"""What each step of the training is shown."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ovs_core.clip import CLIP
from ovs_core.errors import UserError
from ovs_core.files.cache import cache_dir

from .bank import Bank, ensure_bank
from .dense import Phrases
from .render import BankSpec

_SHORT_SHARE = 0.35  # captions about a bare thing or a bare colour
_HELD_OUT = 40  # pictures of held-out pairs in a step of objects
_PAIRS = 40  # pairs among the phrases of a step
_WINDOWED_SIDE = 192  # short side of the scenes that windows are cut from


class Batch(NamedTuple):
    """What a step is shown: B pictures, T captions, A atoms, P phrases.

    Attributes:
        images: (B, 3, H, W) uint8.
        facts: (B, A) 1 where an atom is well in view.
        glimpsed: (B, A) 1 where it is in view at all.
        tokens: (T, L) token ids of captions.
        claims: (T, A) 1 where a caption claims an atom.
        phrases: (P, L) token ids of phrases.
        atoms: (P,) what each phrase says.
        helped: number of pictures, from the first, that the helper task may look at.
    """

    images: Tensor
    facts: Tensor
    glimpsed: Tensor
    tokens: Tensor
    claims: Tensor
    phrases: Tensor
    atoms: Tensor
    helped: int

    def to(self, device: torch.device) -> Batch:
        """Bring all tensors to a device."""
        tensors = (x.to(device, non_blocking=True) for x in self if isinstance(x, Tensor))
        images, facts, glimpsed, tokens, claims, phrases, atoms = tensors
        return Batch(images, facts, glimpsed, tokens, claims, phrases, atoms, self.helped)


class Batches:
    """Draws the batches of a training; each depends on the seed and its step alone."""

    def __init__(self, args: argparse.Namespace, clip: CLIP) -> None:
        self.args = args
        self.phrases = Phrases(clip)
        self.banks = load_banks(args, clip)

    def draw(self, step: int, with_held_out: bool) -> Batch:
        """Draw a step's batch, with or without pictures of held-out pairs."""
        args = self.args
        rng = np.random.default_rng([args.seed, step])
        kind = args.banks[step % len(args.banks)]
        side, is_objects = int(kind.split(":")[1]), kind.startswith("objects")
        size = round(args.batch * min(1.0, (96 / side) ** 2))
        extra = min(_HELD_OUT, size // 2) if with_held_out and is_objects else 0
        drawn = self.banks[kind].draw(rng, size - extra, short_share=_SHORT_SHARE)
        if extra:
            unseen = self.banks[f"held_out:{side}"].draw(rng, extra, short_share=1.0)
            drawn = _join(drawn, unseen)
        images, facts, glimpsed, captions, claimed = drawn
        spoken = rng.permutation(size)[: args.captions]
        tokens, first = np.unique(captions[spoken], axis=0, return_index=True)
        phrases, atoms = self.phrases.draw(rng, _PAIRS)
        true, seen, claims = (
            torch.from_numpy(a).float() for a in (facts, glimpsed, claimed[spoken][first])
        )
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
        words = torch.from_numpy(tokens.astype(np.int64))
        helped = size - extra if is_objects else 0
        return Batch(pixels, true, seen, words, claims, phrases, atoms, helped)


def _join(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    return tuple(np.concatenate(pair) for pair in zip(first, second, strict=True))


def load_banks(args: argparse.Namespace, clip: CLIP) -> dict[str, Bank]:
    """Load the banks, rendering them on first use.

    Raises:
        UserError: for a kind that is not known; before any is rendered.
    """
    root = cache_dir() / "embedded_clip_bank"
    specs = {kind: bank_spec(kind, args.pictures) for kind in args.banks}
    for spec in [spec for kind, spec in specs.items() if kind.startswith("objects")]:
        specs[f"held_out:{spec.height}"] = BankSpec(
            min(20_000, args.pictures), spec.height, spec.width, 1.0, 0.0, 300_000_000,
            held_out=True,
        )  # fmt: skip

    def tokenize(texts: list[str]) -> np.ndarray:
        return clip.tokenizer(texts).numpy()

    return {
        kind: ensure_bank(
            root / f"{kind.replace(':', '_')}_{spec.count}", spec, tokenize, args.workers
        )
        for kind, spec in specs.items()
    }


def bank_spec(kind: str, count: int) -> BankSpec:
    """What a bank named on the command line holds.

    Raises:
        UserError: for another kind, a side that is no number, or windows larger than scenes.
    """
    name, *numbers = kind.split(":")
    most = {"objects": 1, "windows": 2}.get(name, 0)
    if not 1 <= len(numbers) <= most or not all(n.isdecimal() and int(n) for n in numbers):
        raise UserError(
            f"--banks {kind}: not known; write objects:SIDE, windows:SIDE or "
            "windows:SIDE:SHORT SIDE OF SCENES, for example windows:96:192"
        )
    side = int(numbers[0])
    if name == "objects":
        return BankSpec(count, side, side, 0.66, 0.1, 100_000_000 + side)
    short = int(numbers[1]) if len(numbers) > 1 else _WINDOWED_SIDE
    if side > short:
        raise UserError(
            f"--banks {kind}: windows of {side} pixels do not fit into scenes with a short side "
            f"of {short}; write windows:{side}:{side} or a larger second number"
        )
    return BankSpec(count, side, side, 0.0, 0.0, 400_000_000 + 1_000_000 * side,
                    scene=(short, short * 4 // 3))  # fmt: skip
