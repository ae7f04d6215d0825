"""The light Hamburger head of SegNeXt (Guo et al., NeurIPS 2022), on the stages of ``mscan.py``.

Parameter names are mmsegmentation's.

Letters: B pictures, C channels, h x w grid, n = h * w, R rank of the factorisation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.modeling.per_picture import uniform_of
from ovs_core.modeling.scores import resize, size_of

from .heads import DenseHead

EPSILON = 1e-6


class Factorisation(nn.Module):
    """Non-negative factorisation of a map into R bases by multiplicative updates.

    The published code draws the start bases anew at every forward, at test time too. Here they are
    drawn in training and fixed at test time, so that a picture always has the same result.

    Args:
        rank: R.
        train_steps: updates in training.
        eval_steps: updates at test time.
    """

    def __init__(self, rank: int = 16, *, train_steps: int = 6, eval_steps: int = 7) -> None:
        super().__init__()
        self.rank, self.train_steps, self.eval_steps = rank, train_steps, eval_steps

    def forward(self, features: Tensor) -> Tensor:
        """Rebuild a map (B, C, h, w), not negative, from few bases: (B, C, h, w)."""
        points = features.flatten(2)
        bases = self.draw_bases(points)
        coefficients = (points.transpose(1, 2) @ bases).softmax(dim=-1)
        for _ in range(self.train_steps if self.training else self.eval_steps):
            coefficients = _multiply(coefficients, points.transpose(1, 2), bases)
            bases = _multiply(bases, points, coefficients)
        coefficients = _multiply(coefficients, points.transpose(1, 2), bases)
        return (bases @ coefficients.transpose(1, 2)).view_as(features)

    def draw_bases(self, points: Tensor) -> Tensor:
        """(B, C, n) -> (B, C, R) unit start bases; outside training always the same ones."""
        batch, channels = points.shape[:2]
        if self.training:
            drawn = uniform_of(range(batch), (channels, self.rank), points.device)
        else:
            generator = torch.Generator().manual_seed(0)
            drawn = torch.rand(1, channels, self.rank, generator=generator).to(points.device)
            drawn = drawn.expand(batch, -1, -1)
        return F.normalize(drawn.to(points.dtype), dim=1)


class ConvNorm(nn.Module):
    """1 x 1 convolution and, where asked for, group norm and ReLU; mmsegmentation's names."""

    def __init__(self, dim_in: int, dim_out: int, *, groups: int = 0, relu: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim_out, 1, bias=not groups)
        self.gn = nn.GroupNorm(groups, dim_out) if groups else None
        self.relu = relu

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h, w)."""
        features = self.conv(features)
        features = features if self.gn is None else self.gn(features)
        return F.relu(features) if self.relu else features


class Hamburger(nn.Module):
    """Factorisation between two 1 x 1 convolutions, with a residual around them."""

    def __init__(self, dim: int, groups: int, factorisation: Factorisation) -> None:
        super().__init__()
        self.ham_in = ConvNorm(dim, dim, relu=False)
        self.ham = factorisation
        self.ham_out = ConvNorm(dim, dim, groups=groups, relu=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        # The updates divide sums over the grid by each other: not in half precision.
        with torch.autocast(features.device.type, enabled=False):
            inner = self.ham(F.relu(self.ham_in(features.float())))
            return F.relu(features.float() + self.ham_out(inner))


class LightHamburgerHead(DenseHead):
    """SegNeXt's head on the stages at strides 8, 16 and 32.

    Args:
        in_channels: channels of these stages.
        channels: width of the head.
        out_channels: C of the result, at stride 8.
        groups: of the group norms.
        ham_channels: width of the Hamburger; None for that of the head.
        factorisation: the Hamburger's inner part.
        dropout: of whole channels in front of the last convolution.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        out_channels: int,
        *,
        groups: int = 32,
        ham_channels: int | None = None,
        factorisation: Factorisation | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(channels, out_channels, dropout)
        inner = ham_channels or channels
        self.squeeze = ConvNorm(sum(in_channels), inner, groups=groups)
        self.hamburger = Hamburger(inner, groups, factorisation or Factorisation())
        self.align = ConvNorm(inner, channels, groups=groups)

    def merge(self, maps: Sequence[Tensor]) -> Tensor:
        """Mix the last three stages by the factorisation of all of them together."""
        used = maps[-3:]
        size = size_of(used[0])
        features = self.squeeze(torch.cat([resize(one, size) for one in used], dim=1))
        return self.align(self.hamburger(features))


def _multiply(factor: Tensor, target: Tensor, other: Tensor) -> Tensor:
    """One multiplicative update of ``factor`` (m, R) towards ``target`` (m, k) = factor other^T."""
    return factor * (target @ other) / (factor @ (other.transpose(1, 2) @ other) + EPSILON)
