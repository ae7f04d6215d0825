"""SigLIP's image tower of any size, computed as ``transformers`` does, made known to timm.

timm's own towers of that kind have fixed sizes, and the exact GELU where SigLIP was trained with
its approximation by tanh.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from timm.models import is_model, register_model
from timm.models.vision_transformer import VisionTransformer

_ACTIVATIONS = {"gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh"}
# What timm hands to everything that it makes, for weights that it would fetch.
_OF_DOWNLOADS = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


def siglip_trunk(vision: Mapping[str, Any]) -> str:
    """Make a tower known under a name of its own.

    Args:
        vision: ``vision_config`` of a ``SiglipModel``, complete.

    Returns:
        The name, which ``timm.create_model`` takes.

    Raises:
        KeyError: for an activation that SigLIP does not have.
    """
    width = vision["hidden_size"]
    sizes = {
        "img_size": vision["image_size"],
        "patch_size": vision["patch_size"],
        "embed_dim": width,
        "depth": vision["num_hidden_layers"],
        "num_heads": vision["num_attention_heads"],
        "mlp_ratio": vision["intermediate_size"] / width,
        "act_layer": _ACTIVATIONS[vision["hidden_act"]],
    }
    name = "_".join(["ovsuite_siglip", *(str(size).replace(".", "d") for size in sizes.values())])

    def build(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
        options = {k: v for k, v in kwargs.items() if k not in _OF_DOWNLOADS}
        return VisionTransformer(class_token=False, **{**sizes, "global_pool": "map", **options})

    if not is_model(name):
        build.__name__ = name
        register_model(build)
    return name
