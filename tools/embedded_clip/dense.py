"""Features of patches, and the phrases that they are contrasted with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ovs_core.clip import CLIP, ImageEncoder
from ovs_core.clip.attention import self_block, value_block
from ovs_core.clip.conv_encoder import ConvEncoder
from ovs_core.clip.towers import Block
from ovs_core.data.embedded.vocabulary import (
    COLOURS,
    LARGE_NAMES,
    SEMANTIC_NAMES,
    STUFF,
    TEMPLATES,
    THINGS,
    atom_of_stuff,
    atom_of_thing,
    is_unseen_pair,
)

BARE_ATOMS = [atom_of_thing(i) for i in range(len(THINGS))]
BARE_ATOMS += [atom_of_stuff(i) for i in range(len(STUFF))]
SEEN_PAIRS = [
    i for i in range(len(THINGS) * len(COLOURS)) if not is_unseen_pair(*divmod(i, len(COLOURS)))
]


# Last blocks as CLIPtrase and SCLIP run them: their softmax maps are added.
recovered_block = partial(self_block, streams="qkv", mean=False)
self_self_block = partial(self_block, mean=False)

PATHS: dict[str, Callable[[Block, Tensor], Tensor]] = {
    "value": value_block, "self": self_self_block, "recovered": recovered_block
}  # fmt: skip


def patch_features(encoder: ImageEncoder | ConvEncoder, before_last: Tensor, path: str) -> Tensor:
    """Project the features of patches into the joint space.

    Args:
        encoder: of the pictures.
        before_last: a ViT's tokens before its last block, or a convolutional one's dense features.
        path: one of :data:`PATHS`, the last block of a ViT; without meaning for the other.

    Returns:
        (B, N, D) features.
    """
    if isinstance(encoder, ConvEncoder):
        return encoder.project(before_last.flatten(2).transpose(1, 2))
    last = encoder.visual.transformer.resblocks[-1]
    return encoder.project(PATHS[path](last, before_last)[:, 1:])


class Phrases:
    """What patches are contrasted with: the 28 bare names, and some pairs that captions name."""

    def __init__(self, clip: CLIP) -> None:
        names = (*SEMANTIC_NAMES, *(LARGE_NAMES[i] for i in SEEN_PAIRS))
        texts = [template.format(f"a {name}") for template in TEMPLATES for name in names]
        # (templates, phrases, context)
        self.tokens = clip.tokenizer(texts).unflatten(0, (len(TEMPLATES), len(names)))
        self.atoms = np.array(BARE_ATOMS + SEEN_PAIRS)

    def draw(self, rng: np.random.Generator, pairs: int) -> tuple[Tensor, Tensor]:
        """Give token ids (P, L) and atoms (P,) of the bare names and some pairs, in a template."""
        some = rng.choice(len(SEEN_PAIRS), pairs, replace=False) + len(BARE_ATOMS)
        chosen = np.concatenate([np.arange(len(BARE_ATOMS)), some])
        tokens = self.tokens[int(rng.integers(len(TEMPLATES)))][torch.from_numpy(chosen)]
        return tokens, torch.from_numpy(self.atoms[chosen])
