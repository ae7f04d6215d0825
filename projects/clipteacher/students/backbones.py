"""Encoders from timm as modules that give four maps at strides 4, 8, 16, 32."""

from __future__ import annotations

from typing import Any

import timm
from timm.models._features import FeatureListNet
from torch import Tensor, nn

from ovs_core.clip.fetching import timm_weights
from ovs_core.modeling.checkpoint import read_checkpoint

from .published import IMAGENET, encoder_tensors, load_encoder, timm_names, unreachable
from .registry import KEY


class TimmPyramid(nn.Module):
    """An encoder of ``timm`` that offers feature maps.

    Args:
        name: timm model, such as ``convnext_base.fb_in1k``.
        weights: ``imagenet`` for the weights that the name stands for; a local file in timm's form
            or in that of the model's authors; or empty.
        drop_path: stochastic depth.
        stage_norms: whether every map gets a layer norm of its own, as mmsegmentation has it.
        channels_last: whether the model gives (B, h, w, C), as timm's Swin does.
        options: further arguments of the timm model.
    """

    def __init__(
        self,
        name: str,
        *,
        weights: str = "",
        drop_path: float = 0.1,
        stage_norms: bool = False,
        channels_last: bool = False,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        options = options or {}
        if weights == IMAGENET and (here := timm_weights(name, f"{KEY}.WEIGHTS")) is not None:
            weights = str(here)
        self.model = _create(name, weights == IMAGENET, drop_path, options)
        if weights and weights != IMAGENET:
            tensors = encoder_tensors(read_checkpoint(weights), weights)
            load_encoder(self.model, timm_names(tensors, name, options), weights)
        self.channels = tuple(self.model.feature_info.channels())
        norms = [nn.LayerNorm(dim) for dim in self.channels] if stage_norms else []
        self.norms = nn.ModuleList(norms)
        self.channels_last = channels_last

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> four maps."""
        maps = [
            one if self.channels_last else one.permute(0, 2, 3, 1) for one in self.model(images)
        ]
        if self.norms:
            maps = [norm(one) for norm, one in zip(self.norms, maps, strict=True)]
        return [one.permute(0, 3, 1, 2) for one in maps]


def _create(
    name: str, pretrained: bool, drop_path: float, options: dict[str, Any]
) -> FeatureListNet:
    try:
        return timm.create_model(
            name,
            pretrained=pretrained,
            features_only=True,
            drop_path_rate=drop_path,
            **options,
        )
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise unreachable(name, error) from error
