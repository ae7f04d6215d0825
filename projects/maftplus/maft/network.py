"""The network that proposes masks beside CLIP.

Letters: B pictures, Q masks, E joint width, Hp x Wp padded size.
"""

from __future__ import annotations

import torch
from detectron2.modeling.backbone import Backbone
from torch import Tensor, nn

from ovs_core.modeling.mask2former import MaskedAttentionDecoder, PixelDecoder, Prediction

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class ProposalNetwork(nn.Module):
    """A backbone of its own, a deformable pixel decoder and a masked-attention decoder.

    Args:
        backbone: Detectron2 backbone with ``res2`` .. ``res5``.
        pixel_decoder: features to mask features and memory.
        decoder: queries to masks and class embeddings.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    trained: Tensor

    def __init__(
        self, backbone: Backbone, pixel_decoder: PixelDecoder, decoder: MaskedAttentionDecoder
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pixel_decoder = pixel_decoder
        self.decoder = decoder
        for name, values in (("pixel_mean", IMAGENET_MEAN), ("pixel_std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values).view(3, 1, 1), persistent=False)
        # Whether the weights are those of a training; kept in checkpoints of MAFT.
        self.register_buffer("trained", torch.tensor(False))

    def normalize(self, picture: Tensor) -> Tensor:
        """Bring RGB values (..., 3, h, w) in 0..255 to ImageNet's statistics."""
        picture = picture.to(self.pixel_mean.device, self.pixel_mean.dtype, non_blocking=True)
        return (picture - self.pixel_mean) / self.pixel_std

    def forward(self, images: Tensor, *, every_head: bool = False) -> list[Prediction]:
        """Propose masks.

        Args:
            images: (B, 3, Hp, Wp) normalised, sides a multiple of 32.
            every_head: whether the auxiliary heads predict too, as losses need.

        Returns:
            The predictions of all heads in order, or of the last one alone.
        """
        features = self.backbone(images)
        return self.decoder(self.pixel_decoder(features), every_head=every_head)
