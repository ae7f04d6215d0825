"""High- and low-frequency self-attention over patches (SPT-SEG's spectral-guided decoder).

Letters: B pictures, N = h * w patches, D joint width, s window side, d width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.errors import UserError

Grid = tuple[int, int]
SHARPNESS = 1000.0  # of start_as_average: unit features leave little for each head's channels


class HighLowAttention(nn.Module):
    """Attention inside s x s windows (high) beside attention to the windows' means (low).

    The grid is padded with zeros to multiples of s; the zeros take part as the published code has
    it: as keys with logit 0 in the high branch, and in the means of the low one.

    Args:
        dim: D.
        heads: heads of both branches together.
        alpha: share of the low branch's heads; with ``alpha_is_high`` of the high branch's.
        window: s.
        high_projection: project the high branch's output, as the paper's text has it.
        alpha_is_high: read ``alpha`` as the paper does.

    Raises:
        UserError: if the heads do not divide the width.
    """

    def __init__(
        self,
        dim: int,
        *,
        heads: int = 8,
        alpha: float = 0.9,
        window: int = 3,
        high_projection: bool = False,
        alpha_is_high: bool = False,
    ) -> None:
        super().__init__()
        if dim % heads or not 0 <= alpha <= 1 or window < 1:
            raise UserError(
                f"MODEL.SPTSEG.HILO: {heads} heads must divide the joint width {dim}, ALPHA "
                f"{alpha} lie in 0..1 and WINDOW {window} be positive"
            )
        chosen = int(heads * alpha)
        self.low_heads = heads - chosen if alpha_is_high else chosen
        self.high_heads = heads - self.low_heads
        self.head_dim, self.window = dim // heads, window
        low, high = self.low_heads * self.head_dim, self.high_heads * self.head_dim
        if low:
            self.low_query = nn.Linear(dim, low, bias=False)
            self.low_key_value = nn.Linear(dim, 2 * low, bias=False)
            self.low_project = nn.Linear(low, low)
        if high:
            self.high_qkv = nn.Linear(dim, 3 * high, bias=False)
            self.high_project = nn.Linear(high, high) if high_projection else nn.Identity()

    def forward(self, patches: Tensor, grid: Grid) -> Tensor:
        """Mix patches.

        Args:
            patches: (B, N, D).
            grid: (h, w).

        Returns:
            (B, N, D), high-frequency channels first.
        """
        branches = [branch[:, : grid[0], : grid[1]] for branch in self.branches(patches, grid)]
        return torch.cat(branches, dim=-1).flatten(1, 2)

    @torch.no_grad()
    def start_as_average(self) -> None:
        """Start as an average over patches that look alike: what comes out are CLIP's features.

        Queries and keys are each head's own channels, values the channels themselves; the high
        branch takes the first ones.
        """
        high = self.high_heads * self.head_dim
        own = torch.eye(self.head_dim * (self.high_heads + self.low_heads))
        sharp = SHARPNESS**0.5 * own
        if self.high_heads:
            parts = (sharp[:high], sharp[:high], own[:high])
            self.high_qkv.weight.copy_(torch.cat(parts))
            if isinstance(self.high_project, nn.Linear):
                _make_identity(self.high_project)
        if self.low_heads:
            self.low_query.weight.copy_(sharp[high:])
            self.low_key_value.weight.copy_(torch.cat([sharp[high:], own[high:]]))
            _make_identity(self.low_project)

    def branches(self, patches: Tensor, grid: Grid) -> list[Tensor]:
        """High and low branch on the padded grid, (B, h', w', channels); none without heads."""
        padding = (0, 0, 0, -grid[1] % self.window, 0, -grid[0] % self.window)
        padded = F.pad(patches.unflatten(1, grid), padding)
        found = [self._high(padded)] if self.high_heads else []
        return found + ([self._low(padded)] if self.low_heads else [])

    def _high(self, padded: Tensor) -> Tensor:
        batch, rows, columns, _ = padded.shape
        side, windows = self.window, (rows // self.window, columns // self.window)
        qkv = self.high_qkv(padded)
        # (B, rows, columns, 3 heads d) -> (3, B * windows, heads, s * s, d)
        qkv = qkv.view(
            batch, windows[0], side, windows[1], side, 3, self.high_heads, self.head_dim
        ).permute(5, 0, 1, 3, 6, 2, 4, 7)
        query, key, value = qkv.flatten(1, 3).flatten(3, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        mixed = mixed.unflatten(2, (side, side)).unflatten(0, (batch, *windows))
        # (B, wy, wx, heads, s, s, d) -> (B, wy, s, wx, s, heads, d)
        mixed = mixed.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, rows, columns, -1)
        return self.high_project(mixed)

    def _low(self, padded: Tensor) -> Tensor:
        query = self._heads(self.low_query(padded).flatten(1, 2))
        means = F.avg_pool2d(padded.permute(0, 3, 1, 2), self.window).flatten(2).transpose(1, 2)
        key, value = (self._heads(part) for part in self.low_key_value(means).chunk(2, dim=-1))
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return self.low_project(mixed).unflatten(1, padded.shape[1:3])

    def _heads(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.low_heads, self.head_dim)).transpose(1, 2)


def _make_identity(linear: nn.Linear) -> None:
    nn.init.eye_(linear.weight)
    nn.init.zeros_(linear.bias)
