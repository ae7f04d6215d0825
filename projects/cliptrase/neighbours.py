"""NACLIP's attention: patches that lie near each other see each other more.

Letters: B pictures, H heads, L = 1 + N tokens (CLS first), N = h * w patches, d head width,
C = H * d.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ovs_core.clip.attention import merge_heads
from ovs_core.modeling.scores import Size

STRATEGIES = ("naclip", "nonly", "kk", "csa", "vanilla")


def neighbourhood(grid: Size, std: float, *, like: Tensor) -> Tensor:
    """Gaussian of the distance between patches, which is added to scores of attention.

    Its height is 1; rows do not sum to 1.

    Args:
        grid: (h, w).
        std: in patches.
        like: gives dtype and device.

    Returns:
        (L, L) symmetric; row and column of CLS are 0.
    """
    axes = [torch.arange(side, dtype=torch.float32, device=like.device) for side in grid]
    near = [torch.exp(-((a[:, None] - a) ** 2) / (2 * std**2)) for a in axes]
    # exp(-(r^2 + c^2)) = exp(-r^2) exp(-c^2): one small table per axis
    both = torch.einsum("ab,cd->acbd", *near).reshape(grid[0] * grid[1], -1)
    return F.pad(both, (1, 0, 1, 0)).to(like.dtype)


@dataclass(frozen=True)
class Neighbours:
    """An attention rule.

    Attributes:
        strategy: ``naclip`` adds the Gaussian to key-key scores; ``nonly`` attends by the Gaussian
            alone, times the mean product of lengths of queries and keys of the picture.
        std: of the Gaussian, in patches.
    """

    strategy: str = "naclip"
    std: float = 5.0

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, grid: Size) -> Tensor:
        """Mix values (B, H, L, d) into (B, L, C)."""
        length = k.shape[2]  # N in a tower without CLS
        bias = neighbourhood(grid, self.std, like=k)[-length:, -length:]
        if self.strategy == "naclip":
            return merge_heads(F.scaled_dot_product_attention(k, k, v, attn_mask=bias))
        # The mean of |q_a| |k_b| over all pairs is the product of the two means.
        lengths = q.norm(dim=-1).mean(dim=-1) * k.norm(dim=-1).mean(dim=-1)  # (B, H)
        level = lengths.mean(dim=1) * q.shape[-1] ** -0.5
        weights = torch.softmax(level[:, None, None, None] * bias, dim=-1)
        return merge_heads(weights @ v)
