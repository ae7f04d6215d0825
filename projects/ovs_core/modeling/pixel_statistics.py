"""Bringing RGB values to the statistics that a network was trained with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # RGB in 0..255
IMAGENET_STD = (58.395, 57.12, 57.375)


class PixelStatistics(nn.Module):
    """Subtract a mean and divide by a deviation, channel by channel; in no state dict.

    Args:
        mean: RGB mean in 0..255.
        std: RGB standard deviation in 0..255.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
    ) -> None:
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            buffer = torch.tensor(tuple(values), dtype=torch.float32).view(3, 1, 1)
            self.register_buffer(name, buffer, persistent=False)

    def forward(self, picture: Tensor) -> Tensor:
        """(..., 3, H, W) RGB in 0..255 -> float, on this module's device."""
        return (picture.to(self.mean.device, non_blocking=True).float() - self.mean) / self.std
