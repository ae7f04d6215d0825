"""Sine position embedding of a feature map (DETR, normalised form)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..scores import Size

TEMPERATURE = 10000.0


def sine_positions(size: Size, channels: int, *, device: torch.device | str = "cpu") -> Tensor:
    """Embed every cell of a grid.

    Cells count from 1 and both axes are scaled to 2 pi, so that maps of any size share one range.

    Args:
        size: (h, w) of the grid.
        channels: C, a multiple of 4; the first half encodes the row, the second the column.
        device: where the result goes.

    Returns:
        (C, h, w) float32.
    """
    (height, width), half = size, channels // 2
    index = torch.arange(half, device=device)
    period = TEMPERATURE ** (2 * torch.div(index, 2, rounding_mode="floor") / half)
    rows = _waves(height, period).transpose(0, 1)[:, :, None].expand(half, height, width)
    columns = _waves(width, period).transpose(0, 1)[:, None, :].expand(half, height, width)
    return torch.cat([rows, columns])


def _waves(length: int, period: Tensor) -> Tensor:
    """(length, C/2): sine on even channels, cosine on odd ones."""
    steps = torch.arange(1, length + 1, device=period.device, dtype=torch.float32)
    angle = (steps / (length + 1e-6) * (2 * math.pi))[:, None] / period
    return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], dim=2).flatten(1)
