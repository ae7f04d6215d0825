"""Upsampling of a cost volume, one word at a time, guided by the picture.

Letters: B pictures, K words, h x w grid.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


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
        maps: Tensor = self.up(x.flatten(0, 1))
        maps = F.conv2d(maps, self.conv1.weight[:, : maps.shape[1]], padding=1)
        maps = (maps.unflatten(0, x.shape[:2]) + shared[:, None]).flatten(0, 1)
        maps = F.relu(self.norm1(maps), inplace=True)
        maps = F.relu(self.norm2(self.conv2(maps)), inplace=True)
        apart: Tensor = maps.unflatten(0, x.shape[:2])
        return apart
