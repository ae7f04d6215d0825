"""A CLIP's own image trunk as the pretrained backbone, with fine edges from a few convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.clip import ImageEncoder
from ovs_core.clip.attention import self_block


class ClipTrunk(nn.Module):
    """The blocks of a ViT image tower, and convolutions that see what patches are too coarse for.

    Tokens of the last block attend to those that are like them. The projection into the joint
    space is taken out: what the words are like has to be learned.

    Args:
        visual: image tower of a CLIP with a CLS token; changed in place, and trained.
        width: channels of the convolutions.
        dim: channels of the result.

    Raises:
        UserError: if the tower is no such ViT.
    """

    def __init__(self, visual: nn.Module, width: int, dim: int) -> None:
        super().__init__()
        encoder = ImageEncoder(visual)
        encoder.visual.proj = None
        self.trunk = visual.requires_grad_(True)
        self.encoder = encoder
        self.fine = nn.Sequential(_block(3, width // 2, 2), _block(width // 2, width, 2))
        self.mix = nn.Sequential(_block(encoder.width + width, width), _block(width, width))
        self.head = nn.Conv2d(encoder.width + width, dim, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, dim, H / 4, W / 4)."""
        fine = self.fine(images)
        patches = F.interpolate(
            self.patches(images), fine.shape[-2:], mode="bilinear", align_corners=False
        )
        mixed = self.mix(torch.cat([patches, fine], dim=1))
        return self.head(torch.cat([patches, mixed], dim=1))

    def patches(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, h, w) normalised patch tokens of the trunk."""
        tokens, grid = self.encoder.embed(images)
        last = {self.encoder.num_blocks - 1: self_block}
        tokens, _ = self.encoder.run_blocks(tokens, grid, blocks=last)
        return self.encoder.split(self.encoder.visual.ln_post(tokens), grid).patches


def _block(inside: int, outside: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(inplace=True),
    )
