"""The pixel decoder of Mask2Former: deformable encoder on strides 8-32, one FPN step to stride 4.

Letters: B pictures, D encoder width, h x w cells of a level, N cells of all levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..scores import Size, size_of
from .deformable_attention import DeformableAttention
from .position_encoding import sine_positions

COARSE_LEVELS = ("res5", "res4", "res3")


@dataclass(frozen=True)
class PixelFeatures:
    """What the pixel decoder gives.

    Attributes:
        mask_features: (B, D_mask, H / 4, W / 4), multiplied with mask embeddings.
        levels: three maps (B, D, h, w) at strides 32, 16, 8.
    """

    mask_features: Tensor
    levels: list[Tensor]


class EncoderLayer(nn.Module):
    """Deformable self-attention and a feed-forward network, post-norm.

    Args:
        dim: width D.
        heads: attention heads.
        feedforward: hidden width.
    """

    def __init__(self, dim: int, *, heads: int, feedforward: int) -> None:
        super().__init__()
        self.attention = DeformableAttention(dim, heads=heads, levels=len(COARSE_LEVELS))
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, feedforward)
        self.linear2 = nn.Linear(feedforward, dim)
        self.norm2 = nn.LayerNorm(dim)
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, x: Tensor, positions: Tensor, sizes: list[Size], reference: Tensor) -> Tensor:
        """(B, N, D) tokens and positions -> (B, N, D)."""
        x = self.norm1(x + self.attention(x + positions, x, sizes, reference))
        x = self.norm2(x + self.linear2(F.relu(self.linear1(x))))
        return x


class PixelDecoder(nn.Module):
    """Turn backbone features into mask features and three memory levels, in float32.

    Args:
        channels: width of ``res2`` .. ``res5``.
        dim: encoder width D.
        mask_dim: width of the mask features.
        layers: encoder layers.
        heads: attention heads.
        feedforward: hidden width of the encoder layers. Published: 1024, although the published
            config file says 2048.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        *,
        dim: int = 256,
        mask_dim: int = 256,
        layers: int = 6,
        heads: int = 8,
        feedforward: int = 1024,
    ) -> None:
        super().__init__()
        projections = [nn.Conv2d(channels[name], dim, 1) for name in COARSE_LEVELS]
        self.input_proj = nn.ModuleList(
            nn.Sequential(conv, nn.GroupNorm(32, dim)) for conv in projections
        )
        self.level_embed = nn.Parameter(torch.randn(len(COARSE_LEVELS), dim))
        self.layers = nn.ModuleList(
            EncoderLayer(dim, heads=heads, feedforward=feedforward) for _ in range(layers)
        )
        lateral = nn.Conv2d(channels["res2"], dim, 1, bias=False)
        self.lateral = nn.Sequential(lateral, nn.GroupNorm(32, dim))
        smooth = nn.Conv2d(dim, dim, 3, padding=1, bias=False)
        self.smooth = nn.Sequential(smooth, nn.GroupNorm(32, dim), nn.ReLU())
        self.mask_features = nn.Conv2d(dim, mask_dim, 1)
        for conv in projections:
            nn.init.xavier_uniform_(conv.weight)
            clear_bias(conv)
        for conv in (lateral, smooth, self.mask_features):
            nn.init.kaiming_uniform_(conv.weight, a=1)
        clear_bias(self.mask_features)

    def forward(self, features: Mapping[str, Tensor]) -> PixelFeatures:
        """Decode.

        Args:
            features: ``res2`` .. ``res5``, (B, C, h, w) at strides 4, 8, 16, 32.
        """
        with torch.autocast(features["res2"].device.type, enabled=False):
            levels = self._encode([features[name].float() for name in COARSE_LEVELS])
            lateral = self.lateral(features["res2"].float())
            finest = F.interpolate(
                levels[-1], size=lateral.shape[-2:], mode="bilinear", align_corners=False
            )
            return PixelFeatures(self.mask_features(self.smooth(lateral + finest)), levels)

    def _encode(self, maps: list[Tensor]) -> list[Tensor]:
        sizes = [size_of(m) for m in maps]
        projected = [p(m) for p, m in zip(self.input_proj, maps, strict=True)]
        x = torch.cat([m.flatten(2).transpose(1, 2) for m in projected], dim=1)
        dim, device = x.shape[-1], x.device
        positions = torch.cat(
            [
                sine_positions(size, dim, device=device).flatten(1).t() + level
                for size, level in zip(sizes, self.level_embed, strict=True)
            ]
        )
        reference = torch.cat([cell_centres(size, device=device) for size in sizes])
        for layer in self.layers:
            x = layer(x, positions, sizes, reference)
        tokens = x.split([h * w for h, w in sizes], dim=1)
        return [t.transpose(1, 2).unflatten(2, s) for t, s in zip(tokens, sizes, strict=True)]


def clear_bias(layer: nn.Conv2d) -> None:
    """Start with a bias of zeros."""
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)


def cell_centres(size: Size, *, device: torch.device | str = "cpu") -> Tensor:
    """Centres (x, y) in [0, 1] of the cells of an (h, w) grid, row-major: (h * w, 2)."""
    y = (torch.arange(size[0], device=device) + 0.5) / size[0]
    x = (torch.arange(size[1], device=device) + 0.5) / size[1]
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns, rows], dim=-1).flatten(0, 1)
