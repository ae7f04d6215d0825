"""A small network of dense features, for the embedded world and for tests."""

from __future__ import annotations

from torch import Tensor, nn


class SmallConvNet(nn.Module):
    """Two strided convolutions, residual blocks of growing dilation, one 1 x 1 convolution.

    Args:
        width: channels.
        dim: channels of the result.
        dilations: one block each.
    """

    def __init__(self, width: int, dim: int, dilations: tuple[int, ...] = (1, 2, 4, 8)) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=step, dilation=step, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            )
            for step in dilations
        )
        self.head = nn.Conv2d(width, dim, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, dim, H / 4, W / 4)."""
        features = self.stem(images)
        for block in self.blocks:
            features = features + block(features)
        return self.head(features)
