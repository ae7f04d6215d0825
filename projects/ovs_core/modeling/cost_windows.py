"""Spatial aggregation of a cost volume: attention of cells within windows.

Letters: B pictures, K words, D hidden width, G guidance width, h x w grid, n heads, d = D / n,
L cells of a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from .cost_cells import CellLinear, CellMLP, GuidedAttention, entries

MASKED = -100.0  # added between windows' regions that are not neighbours, as Swin does


class WindowAttention(GuidedAttention):
    """Attention within square windows; queries and keys also see the picture.

    Args:
        width: D.
        guidance: G.
        heads: n.
    """

    def __init__(self, width: int, guidance: int, heads: int) -> None:
        super().__init__(width, guidance, heads)
        self.proj = CellLinear(width, width)

    def forward(self, x: Tensor, shared: Tensor, mask: Tensor | None) -> Tensor:
        """Attend.

        Args:
            x: (B, K, windows, L, D) normalised cells.
            shared: (B, 1, windows, L, 2 D) from ``share``.
            mask: (windows, L, L), added to the logits.

        Returns:
            (B, K, windows, L, D).
        """
        q, k, v = (part.flatten(0, 2) for part in self.project(x, shared))
        if mask is not None:  # every head of every word sees it
            mask = mask.to(q.dtype).repeat(q.shape[0] // mask.shape[0], 1, 1)[:, None]
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        result: Tensor = self.proj(attended.transpose(1, 2).reshape(x.shape))
        return result


def to_windows(x: Tensor, window: int, shift: int) -> Tensor:
    """Cut grids into windows: (B, K, h, w, C) -> (B, K, windows, window^2, C).

    Args:
        x: grids; the window divides h and w.
        window: side of a window.
        shift: cyclic shift of the grid before.
    """
    if shift:
        x = x.roll((-shift, -shift), dims=(2, 3))
    x = x.unflatten(3, (-1, window)).unflatten(2, (-1, window))
    return x.transpose(3, 4).flatten(4, 5).flatten(2, 3)


def from_windows(x: Tensor, grid: tuple[int, int], window: int, shift: int) -> Tensor:
    """Undo ``to_windows``: (B, K, windows, window^2, C) -> (B, K, h, w, C)."""
    x = x.unflatten(3, (window, window)).unflatten(2, (-1, grid[1] // window))
    x = x.transpose(3, 4).flatten(4, 5).flatten(2, 3)
    return x.roll((shift, shift), dims=(2, 3)) if shift else x


def shift_mask(grid: tuple[int, int], window: int, shift: int, device: torch.device) -> Tensor:
    """Keep shifted windows from attending across the border of the grid.

    Args:
        grid: (h, w).
        window: side of a window.
        shift: cyclic shift.
        device: of the result.

    Returns:
        (windows, window^2, window^2): 0 within a region, -100 between regions.
    """
    marks = []
    for side in grid:
        mark = torch.zeros(side, device=device)
        mark[side - window : side - shift] = 1
        mark[side - shift :] = 2
        marks.append(mark)
    regions = marks[0][:, None] * 3 + marks[1][None, :]
    rows, columns = grid[0] // window, grid[1] // window
    regions = regions.view(rows, window, columns, window).transpose(1, 2)
    regions = regions.reshape(rows * columns, -1)
    differ = regions[:, :, None] != regions[:, None, :]
    return torch.zeros(differ.shape, device=device).masked_fill(differ, MASKED)


@dataclass(frozen=True)
class WindowGuide:
    """What all words share in a block of windowed attention.

    Attributes:
        window: side of a window.
        shift: cyclic shift of the windows.
        shared: (B, 1, windows, L, 2 D), the picture's part of queries and keys.
        mask: (windows, L, L) of shifted windows.
    """

    window: int
    shift: int
    shared: Tensor
    mask: Tensor | None


class SwinBlock(nn.Module):
    """Pre-norm windowed attention and MLP.

    Args:
        width: D.
        guidance: G.
        heads: n.
    """

    def __init__(self, width: int, guidance: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, guidance, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = CellMLP(width, nn.GELU())

    def guide(self, guidance: Tensor, window: int, shift: int) -> WindowGuide:
        """Compute what words share, from (B, h, w, G) normalised picture guidance."""
        shared = to_windows(self.attn.share(guidance)[:, None], window, shift)
        grid = (guidance.shape[1], guidance.shape[2])
        mask = shift_mask(grid, window, shift, guidance.device) if shift else None
        return WindowGuide(window, shift, shared, mask)

    def forward(self, x: Tensor, guide: WindowGuide) -> Tensor:
        """(B, K, h, w, D) -> same shape."""
        grid = (x.shape[2], x.shape[3])
        x = to_windows(x, guide.window, guide.shift)
        x = x + self.attn(self.norm1(x), guide.shared, guide.mask)
        x = x + self.mlp(self.norm2(x))
        return from_windows(x, grid, guide.window, guide.shift)


class SpatialAggregation(nn.Module):
    """Two windowed blocks per word, the second with shifted windows.

    Args:
        width: D.
        guidance: G.
        heads: n.
        window: side of a window in cells.
    """

    def __init__(self, width: int, guidance: int, *, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.guidance_norm = nn.LayerNorm(guidance)
        self.blocks = nn.ModuleList([SwinBlock(width, guidance, heads) for _ in range(2)])

    def guides(self, appearance: Tensor) -> list[WindowGuide]:
        """Compute what words share, from (B, h, w, G) picture guidance.

        Raises:
            UserError: if windows do not tile the grid.
        """
        h, w = appearance.shape[1:3]
        window, shift = self.window, self.window // 2
        if min(h, w) <= window:
            window, shift = min(h, w), 0
        if h % window or w % window:
            raise UserError(
                f"a grid of {h} x {w} cells cannot be tiled by windows of {window}; choose a "
                "WINDOW or an IMAGE_SIZE so that it can"
            )
        guidance = self.guidance_norm(appearance)
        shifts = zip(entries(self.blocks, SwinBlock), (0, shift), strict=True)
        return [block.guide(guidance, window, offset) for block, offset in shifts]

    def forward(self, x: Tensor, guides: Sequence[WindowGuide]) -> Tensor:
        """Smooth each word's map: (B, K, h, w, D) -> same shape."""
        for block, guide in zip(self.blocks, guides, strict=True):
            x = block(x, guide)
        return x
