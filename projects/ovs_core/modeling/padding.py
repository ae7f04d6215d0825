"""Pictures and labels of several sizes as one tensor."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from .scores import Size


def stack_padded(
    maps: Iterable[Tensor], size: Size, *, divisor: int = 1, value: float = 0.0
) -> Tensor:
    """Pad right and below to one size, and stack.

    Args:
        maps: B of (..., h, w).
        size: (H, W), no map is larger.
        divisor: both sides are rounded up to a multiple of this.
        value: of the padding.

    Returns:
        (B, ..., H', W').
    """
    height, width = (side + -side % divisor for side in size)
    return torch.stack(
        [F.pad(m, (0, width - m.shape[-1], 0, height - m.shape[-2]), value=value) for m in maps]
    )
