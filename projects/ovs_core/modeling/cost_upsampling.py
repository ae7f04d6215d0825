"""Upsampling of a cost volume, one word at a time, guided by the picture.

Letters: B pictures, K words, h x w grid.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .cost_cells import cell_linear


class UpsampleStage(nn.Module):
    """Double the resolution of every word's map and refine it with picture guidance.

    Args:
        width: channels that come in.
        out: channels that go out.
        guidance: channels of the guidance.
    """

    def __init__(self, width: int, out: int, guidance: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(width, width - guidance, 2, stride=2)
        self.conv1 = nn.Conv2d(width, out, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(out // 16, out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(out // 16, out)

    def share(self, guidance: Tensor) -> Tensor:
        """Compute what all words get: (B, guidance, 2h, 2w) -> (B, out, 2h, 2w).

        A convolution of a concatenation is a sum of two, and the guidance's is the same for all.
        """
        return F.conv2d(guidance, self.conv1.weight[:, -guidance.shape[1] :], padding=1)

    def forward(self, x: Tensor, shared: Tensor) -> Tensor:
        """(B, K, width, h, w) maps and ``share``'s result -> (B, K, out, 2h, 2w)."""
        maps = self._double(x.flatten(0, 1))
        maps = F.conv2d(maps, self.conv1.weight[:, : maps.shape[1]], padding=1)
        maps = (maps.unflatten(0, x.shape[:2]) + shared[:, None]).flatten(0, 1)
        maps = F.relu(self.norm1(maps), inplace=True)
        maps = F.relu(self.norm2(self.conv2(maps)), inplace=True)
        apart: Tensor = maps.unflatten(0, x.shape[:2])
        return apart

    def _double(self, maps: Tensor) -> Tensor:
        """(N, width, h, w) -> (N, width - guidance, 2h, 2w).

        A transposed convolution whose places do not overlap is a product for every cell, which is
        three times as fast on the CPU, and twelve times in the backward pass.
        """
        weight = self.up.weight.permute(2, 3, 1, 0)  # (2, 2, out, width)
        assert self.up.bias is not None
        cells = maps.permute(0, 2, 3, 1)
        cells = cell_linear(cells, weight.flatten(0, 2), self.up.bias.repeat(4))
        cells = torch.unflatten(cells, -1, (2, 2, -1)).transpose(2, 3)  # (N, h, 2, w, 2, out)
        return cells.flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)
