"""CLIP-Surgery: a second path through the last blocks, and feature surgery.

Letters: B pictures, L = 1 + N tokens (CLS first), N = h * w patches, K words, D joint width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.clip import ImageEncoder, PositionRule
from ovs_core.clip.attention import finish_block, project_qkv
from ovs_core.clip.towers import Block
from ovs_core.tensor.resampling import known_later

from .attention import attend
from .tower import Dense


class SurgeryTower:
    """Image tower with a second path of value-value attention and no MLP in its last blocks.

    The second path starts as the input of the first of those blocks; its values come from the
    ordinary path, which runs as CLIP has it and gives the CLS token.

    Args:
        visual: ViT with a CLS token, not copied.
        depth: number of blocks with two paths; a tower of fewer blocks uses all.
    """

    def __init__(self, visual: nn.Module, *, depth: int = 6) -> None:
        self.encoder = ImageEncoder(visual, positions=PositionRule(mode="bilinear"), accepts="cls")
        self.depth = min(depth, self.encoder.num_blocks)

    def __call__(self, images: Tensor) -> Dense:
        """Encode (B, 3, H, W) normalised pictures."""
        paths: list[Tensor] = []

        def run(block: Block, tokens: Tensor) -> Tensor:
            q, k, v = project_qkv(block, tokens)
            path = paths.pop() if paths else tokens
            paths.append(path + block.ls_1(block.attn.out_proj(attend(q, k, v, "vv"))))
            return finish_block(block, tokens, attend(q, k, v, "vanilla"))

        count = self.encoder.num_blocks
        blocks = {index: run for index in range(count - self.depth, count)}
        tokens, grid = self.encoder.embed(images)
        ordinary, _ = self.encoder.run_blocks(tokens, grid, blocks=blocks)
        joined = torch.cat([ordinary[:, :1], paths[0][:, 1:]], dim=1)
        return Dense(self.encoder.project(joined), grid)


@dataclass(frozen=True)
class SurgeryScorer:
    """Feature surgery: remove from every word's score what all words share.

    Attributes:
        redundant: gives the (1, D) unit text vector of the empty string, which is subtracted when
            there is only one word.
    """

    redundant: Callable[[], Tensor] | None = None

    def __call__(self, dense: Dense, text: Tensor) -> Tensor:
        """Score (B, K, h, w) from tokens and (K, D) unit text."""
        # One word alone wins everywhere, so a program of any words need not ask how many there are.
        alone = not known_later(text.shape) and len(text) == 1
        redundant = self.redundant() if self.redundant is not None and alone else None
        surgery = feature_surgery(F.normalize(dense.tokens, dim=-1), text, redundant)
        return surgery[:, 1:].transpose(1, 2).unflatten(2, dense.grid)


def feature_surgery(tokens: Tensor, text: Tensor, redundant: Tensor | None = None) -> Tensor:
    """Score tokens after removing redundant features.

    The published sum over D of ``f * T * w`` minus its mean over words equals
    ``X - mean(X)`` with ``X = f T^T * w``, which needs no (L, K, D) tensor.

    Args:
        tokens: (B, L, D) unit tokens, CLS first.
        text: (K, D) unit text.
        redundant: (1, D) text of the empty string; with one word it is subtracted instead.

    Returns:
        (B, L, K).
    """
    if redundant is not None and len(text) == 1:
        return tokens @ (text - redundant).T
    cosines = tokens @ text.T
    weights = torch.softmax(2 * cosines[:, :1], dim=-1)
    weighted = cosines * (weights / weights.mean(dim=-1, keepdim=True))
    return weighted - weighted.mean(dim=-1, keepdim=True)
