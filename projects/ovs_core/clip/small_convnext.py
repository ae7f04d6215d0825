"""The image tower of the embedded convolutional CLIP, made known to timm under its own name.

timm's own small ConvNeXts are either too large to ship beside the code or too shallow, and their
layer scale starts so near zero that a training of minutes hardly leaves it.
"""

from __future__ import annotations

from typing import Any

from timm.models import generate_default_cfgs, register_model
from timm.models.convnext import ConvNeXt, _cfg, _create_convnext

NAME = "ovsuite_convnext_mini"
default_cfgs = generate_default_cfgs({f"{NAME}.untrained": _cfg()})


@register_model
def ovsuite_convnext_mini(pretrained: bool = False, **kwargs: Any) -> ConvNeXt:
    """Build a ConvNeXt of 10 blocks with 32 to 192 channels at strides 4 to 32."""
    sizes = {"depths": (2, 2, 4, 2), "dims": (32, 64, 128, 192)}
    settings = {**sizes, "conv_mlp": True, "ls_init_value": 0.5, **kwargs}
    return _create_convnext(NAME, pretrained=pretrained, **settings)
