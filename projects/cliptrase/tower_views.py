"""What the blocks of CLIP's untouched tower attend to, and the patches that all others look at.

Section 3. Letters: L = 1 + N tokens (CLS first), N = h * w patches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ovs_core.clip import ImageEncoder
from ovs_core.clip.attention import project_qkv
from ovs_core.errors import UserError

from .correlation import correlation

# A patch is called global if it receives more than the mean plus this many standard deviations.
GLOBAL_DEVIATIONS = 3.0


@dataclass(frozen=True)
class TowerViews:
    """What the blocks of the untouched tower attend to.

    Attributes:
        grid: (h, w).
        attention: per block (L, L), mean over heads; softmax weights, or scaled products if raw.
        correlation: per block (L, L) correlation matrix W of its queries, keys and values.
    """

    grid: tuple[int, int]
    attention: list[Tensor]
    correlation: list[Tensor]


@torch.no_grad()
def look_into(encoder: ImageEncoder, images: Tensor, *, raw: bool = False) -> TowerViews:
    """Run the untouched tower and keep what its blocks attend to.

    Args:
        encoder: the tower.
        images: (1, 3, h', w') normalised.
        raw: scaled products in place of softmax weights.

    Raises:
        UserError: if no CLS token stands in front of the patches.
    """
    if not encoder.has_cls:
        raise UserError("these pictures show what CLS is looked at; choose a CLIP that has one")
    attention: list[Tensor] = []
    matrices: list[Tensor] = []
    tokens, grid = encoder.embed(images)
    blocks = encoder.tower.blocks(grid)

    def record(index: int, tokens: Tensor, _: tuple[int, int]) -> Tensor:
        q, k, v = project_qkv(blocks[index], tokens)
        products = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        weights = products if raw else products.softmax(dim=-1)
        attention.append(weights.mean(dim=1)[0].cpu())
        matrices.append(correlation(q, k, v)[0].cpu())
        return tokens

    encoder.run_blocks(tokens, grid, before=record)
    return TowerViews(grid, attention, matrices)


def global_patches(attention: Tensor) -> tuple[Tensor, list[int]]:
    """Find patches that all others look at (section 3).

    Args:
        attention: (L, L) softmax weights.

    Returns:
        (N,) mean attention that each patch receives from the others, and the indices of those above
        the mean plus three standard deviations.
    """
    received = attention[1:, 1:].mean(dim=0)
    limit = received.mean() + GLOBAL_DEVIATIONS * received.std()
    return received, (received > limit).nonzero()[:, 0].tolist()
