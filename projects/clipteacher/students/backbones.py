"""Encoders from timm as modules that give four maps at strides 4, 8, 16, 32; their weights."""

from __future__ import annotations

import re
import sys
from typing import Any

import timm
from torch import Tensor, nn

from ovs_core.engine.checkpoint import read_checkpoint
from ovs_core.errors import UserError

from .mix_transformer import IMAGENET, unreachable

Tensors = dict[str, Tensor]


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
        options: dict | None = None,
    ) -> None:
        super().__init__()
        options = options or {}
        self.model = _create(name, weights == IMAGENET, drop_path, options)
        if weights and weights != IMAGENET:
            tensors = _timm_names(encoder_tensors(read_checkpoint(weights)), name, options)
            load_encoder(self.model, tensors, weights)
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


def encoder_tensors(data: dict[str, Any]) -> Tensors:
    """Take the tensors out of a file's content: maybe under ``state_dict`` or ``model``."""
    tensors = data.get("state_dict", data.get("model", data))
    return {name.removeprefix("backbone."): value for name, value in tensors.items()}


def load_encoder(module: nn.Module, tensors: Tensors, source: str) -> None:
    """Fill an encoder; what belongs to a classifier on top of it is left out.

    Args:
        module: the encoder.
        tensors: in the encoder's names.
        source: where they come from, for messages.

    Raises:
        UserError: if less than all of the encoder's tensors are found.
    """
    wanted = module.state_dict()
    fits = {k: v for k, v in tensors.items() if k in wanted and v.shape == wanted[k].shape}
    missing = [k for k in wanted if k not in fits and not k.endswith("num_batches_tracked")]
    if missing:
        raise UserError(
            f"{source}: {len(missing)} of {len(wanted)} tensors of the encoder are not in it or "
            f"have another shape, first {missing[0]}; check MODEL.CLIPTEACHER.STUDENT.NAME and "
            "WEIGHTS"
        )
    module.load_state_dict(fits, strict=False)


def _create(name: str, pretrained: bool, drop_path: float, options: dict) -> nn.Module:
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


def _timm_names(tensors: Tensors, name: str, options: dict) -> Tensors:
    """Rename the authors' tensors as timm does, then as it does where only features are taken."""
    whole = timm.create_model(name, **options)
    convert = sys.modules[type(whole).__module__].checkpoint_filter_fn
    return {_flat_stage(key): value for key, value in convert(tensors, whole).items()}


def _flat_stage(name: str) -> str:
    """Turn the stage ``stages.0`` of a model into ``stages_0``, as it is called among features."""
    return re.sub(r"^(stages|layers|stem)\.", r"\1_", name)
