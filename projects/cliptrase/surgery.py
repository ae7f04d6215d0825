"""CLIP-Surgery: a second path through the last blocks, feature surgery, similarity maps and points.

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

from .attention import attend
from .tower import Dense


class SurgeryTower:
    """Image tower with a second path of value-value attention and no MLP in its last blocks.

    The second path starts as the input of the first of those blocks; its values come from the
    ordinary path, which runs as CLIP has it and gives the CLS token.

    Args:
        visual: open_clip ViT with a CLS token, not copied.
        depth: number of blocks with two paths; a tower of fewer blocks uses all.
    """

    def __init__(self, visual: nn.Module, *, depth: int = 6) -> None:
        self.encoder = ImageEncoder(visual, positions=PositionRule(mode="bilinear"))
        self.depth = min(depth, self.encoder.num_blocks)

    def __call__(self, images: Tensor, *, allowed: Tensor | None = None) -> Dense:
        """Encode (B, 3, H, W) normalised pictures; ``allowed`` has no meaning here."""
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
        single = len(text) == 1 and self.redundant is not None
        redundant = self.redundant() if single else None
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
    if len(text) == 1 and redundant is not None:
        return tokens @ (text - redundant).T
    cosines = tokens @ text.T
    weights = torch.softmax(2 * cosines[:, :1], dim=-1)
    weighted = cosines * (weights / weights.mean(dim=-1, keepdim=True))
    return weighted - weighted.mean(dim=-1, keepdim=True)


def similarity_map(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Stretch each word's map to 0..1 over the patches and upsample it, for display.

    Args:
        scores: (B, K, h, w).
        size: (H, W).

    Returns:
        (B, K, H, W).
    """
    low, high = scores.amin(dim=(2, 3), keepdim=True), scores.amax(dim=(2, 3), keepdim=True)
    return F.interpolate((scores - low) / (high - low), size=size, mode="bilinear")


def similarity_points(
    scores: Tensor, size: tuple[int, int], *, threshold: float = 0.8
) -> tuple[Tensor, Tensor]:
    """Choose point prompts from a word's map: the best and as many of the worst cells.

    Args:
        scores: (h, w) scores of one word; the map is halved first.
        size: (H, W) of the picture.
        threshold: cells above this, after stretching to 0..1, are foreground; at most half of all.

    Returns:
        (2n, 2) integer x, y, foreground first, each in rising order of score; (2n,) 1 or 0.
    """
    small = tuple(max(1, n // 2) for n in scores.shape)
    halved = F.interpolate(scores[None, None], size=small, mode="bilinear")[0, 0]
    cells = (halved - halved.min()) / (halved.max() - halved.min())
    order = cells.flatten().argsort(stable=True)
    count = min(int((cells >= threshold).sum()), cells.numel() // 2)
    chosen = torch.cat([order[len(order) - count :], order[:count]])
    columns, rows = chosen % small[1], chosen // small[1]
    x = ((columns + 0.5) * (size[1] / small[1])).clamp(max=size[1] - 1)
    y = ((rows + 0.5) * (size[0] / small[0])).clamp(max=size[0] - 1)
    labels = torch.cat([torch.ones(count), torch.zeros(count)]).long()
    return torch.stack([x, y], dim=1).long(), labels
