"""Sums over many maps whose gradients are formed on the way, so that nothing large is kept.

Letters: P maps of h x w, T sums.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# (maps (p, h, w), their numbers (p,)) -> T sums over them
Terms = Callable[[Tensor, Tensor], list[Tensor]]


def chunked_sum(maps: Tensor, numbers: Tensor, terms: Terms, step: int) -> Tensor:
    """Add up terms over chunks of maps.

    Args:
        maps: (P, h, w) with P > 0; gradients reach them.
        numbers: (P,) handed to ``terms`` beside each chunk.
        terms: the same T sums for every chunk; may use anything else that needs no gradient.
        step: maps per chunk.

    Returns:
        (T,) sums.
    """
    total: Tensor = _ChunkedSum.apply(maps, numbers, terms, step)
    return total


class _ChunkedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, numbers: Tensor, terms: Terms, step: int) -> Tensor:
        wanted = ctx.needs_input_grad[0]
        totals: list[Tensor] = []
        gradients: list[Tensor] = []
        for part, chosen in zip(maps.split(step), numbers.split(step), strict=True):
            with torch.set_grad_enabled(wanted):
                leaf = part.detach().requires_grad_(wanted)
                values = terms(leaf, chosen)
            totals.append(torch.stack([value.detach() for value in values]))
            if wanted:
                gradients.append(_gradients(values, leaf))
        if wanted:
            ctx.save_for_backward(torch.cat(gradients, dim=1))
        return sum(totals[1:], start=totals[0])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (gradients,) = ctx.saved_tensors
        return torch.tensordot(grad, gradients, dims=1), None, None, None


def _gradients(values: list[Tensor], leaf: Tensor) -> Tensor:
    """(T, p, h, w) gradients of T sums."""
    parts = []
    for index, value in enumerate(values):
        keep = index < len(values) - 1
        parts.append(torch.autograd.grad(value, leaf, retain_graph=keep)[0])
    return torch.stack(parts)
