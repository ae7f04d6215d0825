"""The side adapter: a small ViT that reads CLIP's features and finds masks.

Letters: B pictures, Q queries, D adapter width, M CLIP width, N = h * w tokens of the adapter's
grid, gh x gw CLIP's grid.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.modeling.per_picture import draw_per_picture
from ovs_core.modeling.scores import Size, resize, size_of

from .mask_decoder import MaskBiasDecoder

EPS = 1e-6


@dataclass(frozen=True)
class AdapterOutput:
    """What is decoded of one block.

    Attributes:
        masks: (B, Q, h, w) mask logits.
        biases: one (B, A, Q, h, w) for all recognition blocks, or one for each.
    """

    masks: Tensor
    biases: list[Tensor]


class ChannelNorm(nn.Module):
    """Layer norm over the channels of maps.

    No ``nn.LayerNorm``: the published optimiser decays its weights, unlike those of layer norms.

    Args:
        channels: of the maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape."""
        last = maps.permute(0, 2, 3, 1)
        last = F.layer_norm(last, self.weight.shape, self.weight, self.bias, EPS)
        return last.permute(0, 3, 1, 2)


class Fusion(nn.Module):
    """Add a level of CLIP to the adapter's picture tokens: projected first, resized then.

    Args:
        clip_width: M.
        width: D.
    """

    def __init__(self, clip_width: int, width: int) -> None:
        super().__init__()
        projection = nn.Conv2d(clip_width, width, 1)
        nn.init.kaiming_uniform_(projection.weight, a=1)
        nn.init.zeros_(projection.bias)  # type: ignore[arg-type]  # there is a bias
        self.input_proj = nn.Sequential(ChannelNorm(clip_width), projection)

    def forward(self, tokens: Tensor, grid: Size, level: Tensor) -> Tensor:
        """(B, Q + N, D) tokens, their grid and (B, M, gh, gw) -> (B, Q + N, D)."""
        added = resize(self.input_proj(level), grid).flatten(2).transpose(1, 2)
        queries, pixels = tokens.tensor_split([-added.shape[1]], dim=1)
        return torch.cat([queries, pixels + added], dim=1)


class AdapterViT(nn.Module):
    """Patches, positions and blocks of the adapter; there is no class token and no last norm.

    Args:
        width: D.
        heads: of a block.
        depth: blocks.
        patch: side in pixels.
        image_size: side of the picture that the table of positions is for.
        drop_path: stochastic depth of the last block; it grows from 0 in the first.
    """

    def __init__(
        self,
        *,
        width: int = 240,
        heads: int = 6,
        depth: int = 8,
        patch: int = 16,
        image_size: int = 640,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        side = image_size // patch
        self.grid = (side, side)
        self.pos_embed = nn.Parameter(torch.empty(1, side * side, width))
        self.patch_embed = nn.Sequential(OrderedDict(proj=nn.Conv2d(3, width, patch, stride=patch)))
        rates = [drop_path * index / max(depth - 1, 1) for index in range(depth)]
        make = partial(
            Block, width, heads, qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=EPS)
        )
        self.blocks = nn.ModuleList(make(drop_path=rate) for rate in rates)
        draw_per_picture(self)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def positions(self, grid: Size) -> Tensor:
        """The table fitted to a grid: (1, N, D)."""
        if grid == self.grid:
            return self.pos_embed
        table = self.pos_embed.transpose(1, 2).unflatten(2, self.grid)
        fitted = F.interpolate(table, size=grid, mode="bicubic", align_corners=False)
        return fitted.flatten(2).transpose(1, 2)


class SideAdapter(nn.Module):
    """Find masks, and what each of CLIP's heads shall look at for them.

    Args:
        vit: the blocks.
        decoder: decodes what blocks give.
        queries: Q.
        clip_width: M.
        fusion: number of a block -> level of CLIP that is added behind it; 0 is before the first.
        supervised: numbers, from 1, of the blocks that are decoded in training; ascending.
    """

    def __init__(
        self,
        vit: AdapterViT,
        decoder: MaskBiasDecoder,
        *,
        queries: int,
        clip_width: int,
        fusion: Mapping[int, int],
        supervised: Sequence[int],
    ) -> None:
        super().__init__()
        width = vit.pos_embed.shape[-1]
        self.query_embed = nn.Parameter(torch.empty(1, queries, width))
        self.query_pos_embed = nn.Parameter(torch.empty(1, queries, width))
        nn.init.normal_(self.query_embed, std=0.02)
        nn.init.normal_(self.query_pos_embed, std=0.02)
        self.vit_model = vit
        self.fusion_layers = nn.ModuleDict(
            {f"layer_{place}": Fusion(clip_width, width) for place in sorted(fusion)}
        )
        self.mask_decoder = decoder
        self.fusion = dict(fusion)
        self.supervised = tuple(supervised)

    def forward(
        self, images: Tensor, levels: Mapping[int, Tensor], *, every_block: bool = False
    ) -> list[AdapterOutput]:
        """Decode the last block, or every supervised one.

        Args:
            images: (B, 3, Hp, Wp) normalised pictures.
            levels: level of CLIP -> (B, M, gh, gw).
            every_block: whether all supervised blocks are decoded, as training needs.

        Returns:
            One output per decoded block, the last block's last.
        """
        decoded = self.supervised if every_block else self.supervised[-1:]
        patches = self.vit_model.patch_embed(images)
        grid = size_of(patches)
        queries = self.query_embed.expand(images.shape[0], -1, -1)
        tokens = torch.cat([queries, patches.flatten(2).transpose(1, 2)], dim=1)
        # Before every block, not once.
        position = torch.cat([self.query_pos_embed, self.vit_model.positions(grid)], dim=1)
        tokens = self._fuse(0, tokens, grid, levels)
        outputs = []
        for number, block in enumerate(self.vit_model.blocks, start=1):
            tokens = self._fuse(number, block(tokens + position), grid, levels)
            if number in decoded:
                outputs.append(self._decode(tokens, grid))
        return outputs

    def _fuse(self, place: int, tokens: Tensor, grid: Size, levels: Mapping[int, Tensor]) -> Tensor:
        if place not in self.fusion:
            return tokens
        fused: Tensor = self.fusion_layers[f"layer_{place}"](
            tokens, grid, levels[self.fusion[place]]
        )
        return fused

    def _decode(self, tokens: Tensor, grid: Size) -> AdapterOutput:
        queries, pixels = tokens.tensor_split([self.query_embed.shape[1]], dim=1)
        return AdapterOutput(*self.mask_decoder(queries, pixels.transpose(1, 2).unflatten(2, grid)))
