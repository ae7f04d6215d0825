"""MaskCLIP's tower: the last block keeps values only; and the numerics of its released form."""

from __future__ import annotations

from open_clip.transformer import QuickGELU
from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.clip import ImageEncoder, PositionRule
from ovs_core.clip.attention import merge_heads, project_qkv, value_block
from ovs_core.clip.towers import Block

from .tower import Dense


class MaskClipTower:
    """Image tower whose last block lets each token see itself alone.

    A picture whose sides are no multiples of the patch is padded with zeros right and below.

    Args:
        visual: ViT of a CLIP, not copied.
        keys: whether the keys of the last block are given too, for key smoothing.
    """

    def __init__(self, visual: nn.Module, *, keys: bool = False) -> None:
        self.encoder = ImageEncoder(visual, positions=PositionRule(), accepts="any")
        self.keys = keys

    def __call__(self, images: Tensor) -> Dense:
        """Encode (B, 3, H, W) normalised pictures."""
        rows, columns = self.encoder.patch_size
        height, width = images.shape[-2:]
        images = F.pad(images, (0, -width % columns, 0, -height % rows))
        found: list[Tensor] = []

        def run(block: Block, tokens: Tensor) -> Tensor:
            if self.keys:
                _, k, _ = project_qkv(block, tokens)
                first = int(self.encoder.has_cls)
                found.append(block.attn.out_proj(merge_heads(k))[:, first:])
            return value_block(block, tokens)

        tokens, grid = self.encoder.embed(images)
        last = self.encoder.num_blocks - 1
        tokens, _ = self.encoder.run_blocks(tokens, grid, blocks={last: run})
        projected, keys = self.encoder.project(tokens), found[0] if found else None
        return Dense(projected, grid, keys=keys, has_cls=self.encoder.has_cls)


def use_released_numerics(visual: nn.Module) -> None:
    """Compute as released MaskCLIP does, in place: exact GELU and a norm epsilon of 1e-6.

    OpenAI's weights were trained with quick-GELU and 1e-5; the published figures come from this.

    Args:
        visual: open_clip ViT.
    """
    for module in visual.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6
        for name, child in module.named_children():
            if isinstance(child, QuickGELU):
                setattr(module, name, nn.GELU())
