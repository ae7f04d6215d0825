"""Resizes as products with matrices, for sides that are known only when a written program runs.

``F.interpolate`` is faster where sizes are numbers; in a program whose pictures may have any size
they are symbols, and these use nothing but plain arithmetic of them. All results are those of
``F.interpolate`` up to rounding. Letters: n new cells, m old cells of an axis.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

import torch
from torch import Tensor

SHARP, SHARP_SMOOTHED = -0.75, -0.5  # PyTorch's cubics, without and with antialias


class Taps(NamedTuple):
    """The two old cells between which new ones lie, (n,) each, and the share of the second."""

    low: Tensor
    high: Tensor
    share: Tensor

    def of(self, maps: Tensor, dim: int) -> Tensor:
        """Interpolate along an axis of m cells: (..., m, ...) -> (..., n, ...)."""
        shape = [1] * maps.ndim
        shape[dim] = -1
        low, high = maps.index_select(dim, self.low), maps.index_select(dim, self.high)
        return torch.lerp(low, high, self.share.view(shape))


def known_later(sides: Iterable[int]) -> bool:
    """Whether a size is a symbol of a program that is being traced."""
    return any(isinstance(side, torch.SymInt) for side in sides)


def smaller(one: int, other: int) -> int:
    """``min`` that may be a symbol."""
    return cast(int, torch.sym_min(one, other))


def larger(one: int, other: int) -> int:
    """``max`` that may be a symbol."""
    return cast(int, torch.sym_max(one, other))


def linear_taps(index: Tensor, new: int, old: int) -> Taps:
    """Say where new cells lie, half-pixel and without antialias.

    Args:
        index: (n',) which of the ``new`` cells are wanted.
        new: n.
        old: m.
    """
    position = ((index + 0.5) * (old / new) - 0.5).clamp(min=0)
    low = position.floor().long().clamp(max=old - 1)
    return Taps(low, (low + 1).clamp(max=old - 1), position - low)


def resize_linear(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of (..., h, w) maps to (..., H, W), half-pixel and without antialias."""
    for dim, new in zip((-2, -1), size, strict=True):
        index = torch.arange(new, device=maps.device)
        maps = linear_taps(index, new, maps.shape[dim]).of(maps, maps.ndim + dim)
    return maps


def cubic_matrix(new: int, old: int, *, offset: float = 0.0, like: Tensor) -> Tensor:
    """Bicubic resize of one axis.

    Args:
        new: n.
        old: m.
        offset: added to n where the step between new cells is formed.
        like: gives dtype and device.

    Returns:
        (n, m), rows sum to 1.
    """
    position = (torch.arange(new, device=like.device) + 0.5) * (old / (new + offset)) - 0.5
    first, cells = position.floor(), torch.arange(old, device=like.device)
    matrix = torch.zeros((new, old), dtype=like.dtype, device=like.device)
    for tap in range(-1, 3):
        cell = (first + tap).clamp(0, old - 1)
        weight = _cubic(position - first - tap, SHARP)
        matrix = matrix + (cell[:, None] == cells) * weight[:, None].to(like.dtype)
    return matrix


def smooth_cubic_matrix(new: int, old: int, *, like: Tensor) -> Tensor:
    """Bicubic resize of one axis with antialias: (n, m), rows sum to 1."""
    step = old / new
    width = cast(float, torch.sym_max(step, 1.0))
    centre = (torch.arange(new, device=like.device) + 0.5) * step
    cells = torch.arange(old, device=like.device) + 0.5
    weights = _cubic((cells - centre[:, None]) / width, SHARP_SMOOTHED).to(like.dtype)
    return weights / weights.sum(dim=1, keepdim=True)


def _cubic(x: Tensor, sharpness: float) -> Tensor:
    x = x.abs()
    near = ((sharpness + 2) * x - (sharpness + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * sharpness
    return torch.where(x <= 1, near, torch.where(x < 2, far, 0.0))
