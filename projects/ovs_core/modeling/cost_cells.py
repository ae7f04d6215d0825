"""Layers on the cells of a cost volume, fast on the CPU too, and work in chunks.

Cells keep their channels last throughout: convolutions read that layout as it is, and no copy is
made between attention and convolution.

Letters: D hidden width, G guidance width, n heads, d = D / n, L cells or words that see each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..tensor.resampling import known_later

ONEDNN_MAPS = 16  # from so many maps on PyTorch gives 1 x 1 convolutions to oneDNN on one thread
GPU_CHUNKS = 8  # chunks that fit a CPU's cache would leave a GPU idle
MLP_CELLS = 1024  # cells that go through an MLP at a time on the CPU: what a cache holds


M = TypeVar("M", bound=nn.Module)


def entries(modules: nn.ModuleList, kind: type[M]) -> list[M]:
    """The modules of a list with the one class that all of them have."""
    found: list[M] = []
    for module in modules:
        assert isinstance(module, kind)
        found.append(module)
    return found


def cell_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear`` for many cells.

    On the CPU it goes through a 1 x 1 convolution: same sums, but oneDNN's kernels, which are twice
    as fast as the BLAS of PyTorch's builds on some processors and as fast on others.

    Args:
        x: (..., in).
        weight: (out, in).
        bias: (out,).

    Returns:
        (..., out).
    """
    cells = x.numel() // x.shape[-1]
    # Of cells that a written program counts when it runs nobody knows whether they divide.
    if known_later(x.shape) or x.device.type != "cpu" or cells == 0 or cells % ONEDNN_MAPS:
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled():
        result: Tensor = _MappedLinear.apply(x, weight, bias)
        return result
    return _as_maps(x, weight, bias)


def _as_maps(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    maps = x.reshape(ONEDNN_MAPS, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)  # channels last
    maps = F.conv2d(maps, weight[:, :, None, None], bias)
    return maps.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


class _MappedLinear(torch.autograd.Function):
    """Convolutions but for the weight's gradient, for which BLAS is thrice as fast as oneDNN."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu")
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _as_maps(x, weight, bias)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        rows = grad.flatten(0, -2)
        wanted = ctx.needs_input_grad
        return (
            _as_maps(grad, weight.t()) if wanted[0] else None,
            rows.t() @ x.flatten(0, -2) if wanted[1] else None,
            rows.sum(dim=0) if wanted[2] else None,
        )


class CellLinear(nn.Linear):
    """``nn.Linear`` through ``cell_linear``."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., L, in) -> (..., L, out)."""
        return cell_linear(x, self.weight, self.bias)


class CellMLP(nn.Sequential):
    """Two linear layers around an activation, four times as wide inside.

    Args:
        width: D.
        activation: between the layers.
    """

    def __init__(self, width: int, activation: nn.Module) -> None:
        super().__init__(CellLinear(width, 4 * width), activation, CellLinear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., L, D) -> same shape."""
        if torch.is_grad_enabled() or x.device.type != "cpu" or torch.compiler.is_compiling():
            return self._run(x)  # an exported program would spell every chunk out
        return in_chunks(self._run, x.flatten(0, -2), MLP_CELLS, dim=0).view(x.shape)

    def _run(self, x: Tensor) -> Tensor:
        for module in self:
            x = module(x)
        return x


def in_chunks(run: Callable[[Tensor], Tensor], x: Tensor, size: int, dim: int) -> Tensor:
    """Apply a function that treats an axis' entries apart to chunks of them.

    Args:
        run: keeps the extent of the axis.
        x: any shape.
        size: entries per chunk on the CPU; elsewhere ``GPU_CHUNKS`` times as many.
        dim: the axis.

    Returns:
        What ``run(x)`` would give.
    """
    if known_later(x.shape):  # a program cannot spell out as many chunks as there will be
        return run(x)
    size = size if x.device.type == "cpu" else GPU_CHUNKS * size
    if size >= x.shape[dim]:
        return run(x)
    if torch.is_grad_enabled():
        return torch.cat([run(part) for part in x.split(size, dim)], dim)
    first = run(x.narrow(dim, 0, size))
    shape = list(first.shape)
    shape[dim] = x.shape[dim]
    result = first.new_empty(shape)
    result.narrow(dim, 0, size).copy_(first)
    for start in range(size, x.shape[dim], size):
        part = run(x.narrow(dim, start, min(size, x.shape[dim] - start)))
        result.narrow(dim, start, part.shape[dim]).copy_(part)
    return result


class GuidedAttention(nn.Module):
    """Projections to queries, keys and values, where queries and keys also see a guidance.

    Args:
        width: D.
        guidance: G.
        heads: n.
    """

    def __init__(self, width: int, guidance: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width + guidance, width)
        self.k = nn.Linear(width + guidance, width)
        self.v = nn.Linear(width, width)

    def share(self, guidance: Tensor) -> Tensor:
        """Compute what queries and keys get from the guidance: (..., G) -> (..., 2 D)."""
        width = self.v.in_features
        weight = torch.cat([self.q.weight[:, width:], self.k.weight[:, width:]])
        return F.linear(guidance, weight, torch.cat([self.q.bias, self.k.bias]))

    def project(self, x: Tensor, shared: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project to all three at once.

        Args:
            x: (..., L, D).
            shared: (..., L, 2 D) from ``share``, broadcastable.

        Returns:
            Queries, keys and values, each (..., n, L, d).
        """
        width = x.shape[-1]
        parts = self.q.weight[:, :width], self.k.weight[:, :width], self.v.weight
        joint = cell_linear(x, torch.cat(parts), F.pad(self.v.bias, (2 * width, 0)))
        q, k = (joint[..., : 2 * width] + shared).chunk(2, dim=-1)
        return self._heads(q), self._heads(k), self._heads(joint[..., 2 * width :])

    def _heads(self, x: Tensor) -> Tensor:
        """(..., L, D) -> (..., n, L, d)."""
        apart: Tensor = x.unflatten(-1, (self.heads, -1))
        return apart.transpose(-3, -2)
