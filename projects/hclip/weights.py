"""Baselines that change weights: CAT-Seg's own modes, LoRA and SSF.

Letters: C tower width, k matrices below each other (3 for query, key, value), r rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ovs_core.clip import CLIP

from .adaptation import Adaptation, blocks
from .once import Once, StepClock


class QueryValue(nn.Module):
    """Parametrization of (3C, C) whose query and value rows train and whose key rows do not.

    Args:
        weight: pretrained weight.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        query, _, value = weight.detach().chunk(3)
        self.query = nn.Parameter(query.clone())
        self.value = nn.Parameter(value.clone())

    def forward(self, weight: Tensor) -> Tensor:
        """Put the three parts together."""
        return torch.cat([self.query, weight.chunk(3)[1], self.value])


class LowRank(nn.Module):
    """Parametrization W -> W + B A, one pair per matrix, scale alpha / r = 1 (LoRA).

    Args:
        weight: (k * C, C) pretrained weight.
        count: k.
        rank: r.
        clock: the adaptation's clock.
    """

    def __init__(self, weight: Tensor, count: int, rank: int, clock: StepClock) -> None:
        super().__init__()
        rows, columns = weight.shape[0] // count, weight.shape[1]
        self.down = nn.Parameter(weight.new_empty(count, rank, columns))
        self.up = nn.Parameter(weight.new_zeros(count, rows, rank))
        for matrix in self.down:
            nn.init.kaiming_uniform_(matrix, a=math.sqrt(5))
        self._once: Once[Tensor] = Once(clock, self.parameters())

    def forward(self, weight: Tensor) -> Tensor:
        """Add the low-rank part."""
        return self._once(lambda: weight + (self.up @ self.down).flatten(0, 1), weight)


class Scale(nn.Module):
    """Parametrization of a weight: every output channel times gamma (SSF)."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones_like(weight[..., 0] if weight.dim() > 1 else weight))

    def forward(self, weight: Tensor) -> Tensor:
        """Scale (n, m) or (n,)."""
        return weight * (self.gamma[:, None] if weight.dim() > 1 else self.gamma)

    def factor(self) -> Tensor:
        """Gamma (n,), for the bias of the same layer."""
        return self.gamma


class ScaleShift(nn.Module):
    """Parametrization of a bias: times its layer's gamma, plus beta (SSF).

    Args:
        bias: pretrained bias.
        factor: gives the gamma (n,) of the layer's weight, where it is registered.
    """

    def __init__(self, bias: Tensor, factor: Callable[[], Tensor]) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.zeros_like(bias))
        self._factor = factor

    def forward(self, bias: Tensor) -> Tensor:
        """Scale and shift (n,)."""
        return bias * self._factor() + self.beta


class AttentionTuning(Adaptation):
    """CAT-Seg's default: query and value projections of every block of both towers."""

    mode = "attention"

    def __init__(self, clip: CLIP) -> None:
        super().__init__()
        for block in blocks(clip):
            rows = QueryValue(block.attn.in_proj_weight)
            parametrize.register_parametrization(block.attn, "in_proj_weight", rows)


class FullTuning(Adaptation):
    """Every parameter of every block of both towers."""

    mode = "full"

    def __init__(self, clip: CLIP) -> None:
        super().__init__()
        for block in blocks(clip):
            block.requires_grad_(True)


class LoRA(Adaptation):
    """Low-rank updates of query, key, value and output projections of both towers.

    Args:
        clip: the CLIP; its attention weights become parametrized.
        rank: r.
    """

    mode = "lora"

    def __init__(self, clip: CLIP, rank: int) -> None:
        super().__init__()
        for block in blocks(clip):
            attn = block.attn
            for module, name, count in ((attn, "in_proj_weight", 3), (attn.out_proj, "weight", 1)):
                update = LowRank(getattr(module, name), count, rank, self.clock)
                parametrize.register_parametrization(module, name, update)


class SSF(Adaptation):
    """Scale and shift behind every norm and linear layer of every block of both towers."""

    mode = "ssf"

    def __init__(self, clip: CLIP) -> None:
        super().__init__()
        for block in blocks(clip):
            attn = block.attn
            sites = (
                (block.ln_1, "weight", "bias"), (attn, "in_proj_weight", "in_proj_bias"),
                (attn.out_proj, "weight", "bias"), (block.ln_2, "weight", "bias"),
                (block.mlp.c_fc, "weight", "bias"), (block.mlp.c_proj, "weight", "bias"),
            )  # fmt: skip
            for module, weight, bias in sites:
                scale = Scale(getattr(module, weight))
                shift = ScaleShift(getattr(module, bias), scale.factor)
                parametrize.register_parametrization(module, weight, scale)
                parametrize.register_parametrization(module, bias, shift)
