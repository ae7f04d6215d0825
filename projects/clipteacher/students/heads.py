"""Segmentation heads on a pyramid of maps, in mmsegmentation's form and with its parameter names.

The last 1 x 1 convolution has C channels, the width of the text features, in place of classes.

Letters: B pictures, C channels, h x w grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.modeling.scores import resize, size_of


class ConvBlock(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, dim_in: int, dim_out: int, kernel: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim_out, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(dim_out)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h, w)."""
        return F.relu(self.bn(self.conv(features)))


class DenseHead(nn.Module):
    """What all heads share: dropout of whole channels and the last convolution.

    Args:
        channels: width of the head.
        out_channels: C of the result.
        dropout: in front of the last convolution.
    """

    def __init__(self, channels: int, out_channels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(dropout)
        self.conv_seg = nn.Conv2d(channels, out_channels, 1)
        nn.init.normal_(self.conv_seg.weight, std=0.01)
        nn.init.zeros_(self.conv_seg.get_parameter("bias"))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps at strides 4, 8, 16, 32 -> (B, C, h, w)."""
        return self.conv_seg(self.dropout(self.merge(maps)))

    def merge(self, maps: Sequence[Tensor]) -> Tensor:
        """Bring the pyramid together: (B, channels, h, w)."""
        raise NotImplementedError(f"{type(self).__name__}.merge")


class SegFormerHead(DenseHead):
    """All-MLP head: each map projected, resized, all concatenated and mixed.

    Args:
        in_channels: channels of the maps.
        channels: width of the head.
        out_channels: C of the result.
        dropout: in front of the last convolution.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        out_channels: int,
        *,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(channels, out_channels, dropout)
        self.convs = nn.ModuleList([ConvBlock(dim, channels) for dim in in_channels])
        self.fusion_conv = ConvBlock(channels * len(in_channels), channels)

    def merge(self, maps: Sequence[Tensor]) -> Tensor:
        """Bring the pyramid together.

        The fusing convolution is linear and 1 x 1, so each map meets its share of the weights on
        its own coarse grid, before it is enlarged: the same sum for a quarter of the work.
        """
        size, fuse = size_of(maps[0]), self.fusion_conv
        shares = fuse.conv.weight.chunk(len(self.convs), dim=1)
        parts = [
            resize(F.conv2d(conv(one), share), size)
            for conv, one, share in zip(self.convs, maps, shares, strict=True)
        ]
        return F.relu(fuse.bn(sum(parts)))


class UPerHead(DenseHead):
    """Pyramid pooling on the coarsest map, then a feature pyramid down to the finest.

    Args:
        in_channels: channels of the maps.
        channels: width of the head.
        out_channels: C of the result.
        pool_scales: sides of the pooled grids.
        dropout: in front of the last convolution.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        out_channels: int,
        *,
        pool_scales: Sequence[int] = (1, 2, 3, 6),
        dropout: float = 0.1,
    ) -> None:
        super().__init__(channels, out_channels, dropout)
        deepest = in_channels[-1]
        self.psp_modules = nn.ModuleList(
            [
                nn.Sequential(nn.AdaptiveAvgPool2d(scale), ConvBlock(deepest, channels))
                for scale in pool_scales
            ]
        )
        self.bottleneck = ConvBlock(deepest + len(pool_scales) * channels, channels, 3)
        self.lateral_convs = nn.ModuleList([ConvBlock(dim, channels) for dim in in_channels[:-1]])
        self.fpn_convs = nn.ModuleList([ConvBlock(channels, channels, 3) for _ in in_channels[:-1]])
        self.fpn_bottleneck = ConvBlock(len(in_channels) * channels, channels, 3)

    def merge(self, maps: Sequence[Tensor]) -> Tensor:
        """Bring the pyramid together."""
        coarse, size = maps[-1], size_of(maps[-1])
        pooled = [resize(module(coarse), size) for module in self.psp_modules]
        top = self.bottleneck(torch.cat([coarse, *pooled], dim=1))
        levels = [conv(one) for conv, one in zip(self.lateral_convs, maps, strict=False)] + [top]
        for index in range(len(levels) - 1, 0, -1):
            finer = levels[index - 1]
            levels[index - 1] = finer + resize(levels[index], size_of(finer))
        outputs = [conv(one) for conv, one in zip(self.fpn_convs, levels, strict=False)] + [top]
        finest = size_of(outputs[0])
        return self.fpn_bottleneck(torch.cat([resize(one, finest) for one in outputs], dim=1))
