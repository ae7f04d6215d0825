"""MSCAN, the encoder of SegNeXt (Guo et al., NeurIPS 2022); its head is in ``hamburger.py``.

No library that installs from PyPI has it, so it stands here; parameter names are mmsegmentation's,
so that its published files load as they are.

Letters: B pictures, C channels, h x w grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

LAYER_SCALE = 1e-2
STRIPS = (7, 11, 21)


class SpatialGate(nn.Module):
    """Multiply features by depth-wise strip convolutions of themselves at three lengths."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        for index, length in enumerate(STRIPS):
            across = nn.Conv2d(dim, dim, (1, length), padding=(0, length // 2), groups=dim)
            down = nn.Conv2d(dim, dim, (length, 1), padding=(length // 2, 0), groups=dim)
            self.add_module(f"conv{index}_1", across)
            self.add_module(f"conv{index}_2", down)
        self.conv3 = nn.Conv2d(dim, dim, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        base = self.conv0(features)
        strips = [
            self.get_submodule(f"conv{i}_2")(self.get_submodule(f"conv{i}_1")(base))
            for i in range(len(STRIPS))
        ]
        return features * self.conv3(base + sum(strips))


class SpatialAttention(nn.Module):
    """Projection, gate, projection, with a residual around them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj_1 = nn.Conv2d(dim, dim, 1)
        self.spatial_gating_unit = SpatialGate(dim)
        self.proj_2 = nn.Conv2d(dim, dim, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        return features + self.proj_2(self.spatial_gating_unit(F.gelu(self.proj_1(features))))


class FeedForward(nn.Module):
    """Two 1 x 1 convolutions with a depth-wise one between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, hidden, 1)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.fc2 = nn.Conv2d(hidden, dim, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        return self.fc2(F.gelu(self.dwconv(self.fc1(features))))


class MSCABlock(nn.Module):
    """Attention and feed-forward, each normed in front and scaled behind."""

    def __init__(self, dim: int, ratio: float, drop_path: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(dim), nn.BatchNorm2d(dim)
        self.attn = SpatialAttention(dim)
        self.mlp = FeedForward(dim, int(dim * ratio))
        self.layer_scale_1 = nn.Parameter(torch.full((dim,), LAYER_SCALE))
        self.layer_scale_2 = nn.Parameter(torch.full((dim,), LAYER_SCALE))
        self.drop_path = StochasticDepth(drop_path, "row")

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        attended = self.layer_scale_1[:, None, None] * self.attn(self.norm1(features))
        features = features + self.drop_path(attended)
        mixed = self.layer_scale_2[:, None, None] * self.mlp(self.norm2(features))
        return features + self.drop_path(mixed)


class Stem(nn.Module):
    """Two strided convolutions: a quarter of the side."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.Conv2d(3, dim // 2, 3, stride=2, padding=1),
            nn.BatchNorm2d(dim // 2),
            nn.GELU(),
            nn.Conv2d(dim // 2, dim, 3, stride=2, padding=1),
            nn.BatchNorm2d(dim),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H / 4, W / 4)."""
        return self.proj(images)


class Downsample(nn.Module):
    """One strided convolution: half the side."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(dim_in, dim_out, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(dim_out)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h / 2, w / 2)."""
        return self.norm(self.proj(features))


class MSCAN(nn.Module):
    """SegNeXt's encoder.

    Args:
        dims: channels of the four stages.
        depths: blocks of the stages.
        ratios: hidden width of the feed-forward part over the stage's channels.
        drop_path: stochastic depth of the last block; it grows linearly from 0.
    """

    def __init__(
        self,
        dims: Sequence[int],
        depths: Sequence[int],
        *,
        ratios: Sequence[float] = (8, 8, 4, 4),
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        self.channels = tuple(dims)
        rates = torch.linspace(0, drop_path, sum(depths)).tolist()
        for index, (dim, depth, ratio) in enumerate(zip(dims, depths, ratios, strict=True)):
            entry = Stem(dim) if index == 0 else Downsample(dims[index - 1], dim)
            blocks = nn.ModuleList([MSCABlock(dim, ratio, rates.pop(0)) for _ in range(depth)])
            self.add_module(f"patch_embed{index + 1}", entry)
            self.add_module(f"block{index + 1}", blocks)
            self.add_module(f"norm{index + 1}", nn.LayerNorm(dim))
        self.apply(_init_conv)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> four maps at strides 4, 8, 16, 32."""
        features, maps = images, []
        for stage in range(1, len(self.channels) + 1):
            features = self.get_submodule(f"patch_embed{stage}")(features)
            for block in self.get_submodule(f"block{stage}").children():
                features = block(features)
            features = self.get_submodule(f"norm{stage}")(features.permute(0, 2, 3, 1))
            features = features.permute(0, 3, 1, 2)
            maps.append(features)
        return maps


def _init_conv(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        nn.init.normal_(module.weight, std=(2.0 / (fan_out // module.groups)) ** 0.5)
        nn.init.zeros_(module.get_parameter("bias"))
