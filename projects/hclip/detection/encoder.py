"""The adapted CLIP that the detector stands on: frozen, read at several blocks.

Letters: B pictures, C tower width, D joint width, h x w grid of patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ovs_core.clip import CLIP, ImageEncoder
from ovs_core.errors import check_choice

from ..adaptation import Adaptation
from ..last_blocks import LAST_BLOCKS
from ..tokens import encode_tokens

DENSE = "dense"  # name of the joint-space features among the backbone's outputs


@dataclass(frozen=True)
class EncodedPictures:
    """What the detector reads from the encoder.

    Attributes:
        taps: (B, C, h, w) outputs of the chosen blocks, in their order.
        dense: (B, D, h, w) dense features in the joint space, not normalised.
    """

    taps: list[Tensor]
    dense: Tensor


class AdaptedEncoder(nn.Module):
    """A CLIP with its adaptation, frozen; its last image block keeps values only.

    Args:
        clip: the CLIP.
        adaptation: how it was adapted; it has changed the CLIP already.
        taps: image blocks whose outputs are given.
        last_block: of ``LAST_BLOCKS``: a residual, ``"cls"`` or ``"token"``, or ``"self"``.
    """

    def __init__(
        self,
        clip: CLIP,
        adaptation: Adaptation,
        *,
        taps: Sequence[int] = (3, 5, 7, 11),
        last_block: str = "cls",
    ) -> None:
        super().__init__()
        check_choice("MODEL.HCLIP_DET.LAST_BLOCK", last_block, LAST_BLOCKS)
        self.clip, self.adaptation = clip, adaptation
        self.image_encoder = ImageEncoder(clip.visual)
        self.taps = tuple(self.image_encoder.block_index(i) for i in taps)
        self.last_block = LAST_BLOCKS[last_block]
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> AdaptedEncoder:
        """Stay in evaluation mode: nothing here is trained."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> EncodedPictures:
        """Encode (B, 3, H, W) normalised pictures."""
        encoder = self.image_encoder
        tokens = encode_tokens(
            encoder, self.adaptation, images, taps=self.taps, last_block=self.last_block
        )
        dense = tokens.patches
        grid = dense.shape[-2], dense.shape[-1]
        taps = [encoder.split(tokens.taps[i], grid).patches for i in self.taps]
        return EncodedPictures(taps, dense)
