"""An adapted CLIP as a Detectron2 backbone: pyramid of block outputs, FPN, dense features.

Letters: B pictures, C tower width, D joint width, F channels of the FPN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from detectron2.modeling.backbone.fpn import FPN, LastLevelMaxPool
from torch import Tensor, nn

from ovs_core.errors import UserError

from .build import backbone_arguments
from .encoder import DENSE, AdaptedEncoder

LEVELS = ("res2", "res3", "res4", "res5")


class BlockPyramid(Backbone):
    """Four block outputs of one size -> four maps, each half the size of the one before.

    Two transposed convolutions, one, none, and max pooling (CLIM; after BEiT's detector).

    Args:
        width: C.
        patch: patch side in pixels, a power of two and at least 4.
        norm: Detectron2's name of the normalisation between the two transposed convolutions.
    """

    def __init__(self, width: int, patch: int, norm: str = "") -> None:
        super().__init__()
        if patch < 4 or patch & (patch - 1):
            raise UserError(
                f"the detector needs patches whose side is a power of two and at least 4 pixels "
                f"(its strides are 1/4 to 2 of it), but MODEL.CLIP.ARCHITECTURE has {patch}; "
                "choose one with patches of 16 or 32"
            )
        self.scales = nn.ModuleList(
            [
                nn.Sequential(_double(width), get_norm(norm, width) or nn.Identity(), nn.GELU(),
                              _double(width)),
                _double(width),
                nn.Identity(),
                nn.MaxPool2d(2),
            ]
        )  # fmt: skip
        strides = (patch // 4, patch // 2, patch, 2 * patch)
        self._shapes = {
            name: ShapeSpec(channels=width, stride=stride)
            for name, stride in zip(LEVELS, strides, strict=True)
        }

    def forward(self, taps: Sequence[Tensor]) -> dict[str, Tensor]:
        """Four (B, C, h, w) -> (B, C, 4h, 4w), (B, C, 2h, 2w), (B, C, h, w), (B, C, h/2, w/2)."""
        maps = [scale(tap) for scale, tap in zip(self.scales, taps, strict=True)]
        return dict(zip(LEVELS, maps, strict=True))

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and strides by name."""
        return dict(self._shapes)


@BACKBONE_REGISTRY.register()
class AdaptedBackbone(Backbone):
    """Frozen adapted CLIP, trained pyramid and FPN.

    Args:
        encoder: the adapted CLIP; must give four taps.
        channels: F.
        norm: Detectron2's name of the normalisation in pyramid and FPN.
    """

    @configurable
    def __init__(
        self, encoder: AdaptedEncoder, *, channels: int = 256, norm: str = "SyncBN"
    ) -> None:
        super().__init__()
        if len(encoder.taps) != len(LEVELS):
            raise UserError(
                f"MODEL.HCLIP_DET.TAPS: {len(encoder.taps)} blocks named; the pyramid takes "
                f"{len(LEVELS)}"
            )
        image_encoder = encoder.image_encoder
        rows, columns = image_encoder.patch_size
        if rows != columns:
            raise UserError(f"the detector needs square patches, not {rows} x {columns} pixels")
        self.encoder = encoder
        top = LastLevelMaxPool()
        pyramid = BlockPyramid(image_encoder.width, rows, norm)
        top.in_feature = f"p{(2 * rows).bit_length() - 1}"
        self.fpn = FPN(pyramid, LEVELS, channels, norm=norm, top_block=top)
        self._dense = ShapeSpec(channels=encoder.clip.embed_dim, stride=rows)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Load and adapt the CLIP, see ``build.py``; ``input_shape`` is always RGB."""
        return backbone_arguments(cfg)

    @property
    def size_divisibility(self) -> int:
        """Pictures are padded to a multiple of the coarsest pyramid level's stride."""
        return self.fpn.size_divisibility

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Encode (B, 3, H, W) normalised pictures.

        Returns:
            ``p<n>`` (B, F, H / 2^n, W / 2^n) of the FPN, and ``dense`` (B, D, h, w) features of the
            frozen encoder in the joint space.
        """
        encoded = self.encoder(images)
        return {**self.fpn(encoded.taps), DENSE: encoded.dense}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and strides by name."""
        return {**self.fpn.output_shape(), DENSE: self._dense}


def _double(width: int) -> nn.Module:
    return nn.ConvTranspose2d(width, width, 2, stride=2)
