"""A CLIP's sizes as ``transformers`` writes them, brought to open_clip's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from .siglip_trunk import siglip_trunk

CLIP_VOCABULARY = 49408  # ids of CLIP's own tokenizer

_BLOCKS = {"num_hidden_layers": 12, "num_attention_heads": 12}
# What transformers leaves out of a file because it is the default there.
_DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "clip": {
        "text_config": {
            "hidden_size": 512, "intermediate_size": 2048, **_BLOCKS, "num_attention_heads": 8,
            "max_position_embeddings": 77, "vocab_size": CLIP_VOCABULARY,
            "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
        },
        "vision_config": {
            "hidden_size": 768, "intermediate_size": 3072, **_BLOCKS, "image_size": 224,
            "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
        },
    },
    "siglip": {
        "text_config": {
            "hidden_size": 768, "intermediate_size": 3072, **_BLOCKS,
            "max_position_embeddings": 64, "vocab_size": 32000,
            "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6,
        },
        "vision_config": {
            "hidden_size": 768, "intermediate_size": 3072, **_BLOCKS, "image_size": 224,
            "patch_size": 16, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6,
        },
    },
}  # fmt: skip

KINDS = tuple(_DEFAULTS)  # values of ``model_type``


def config_of_transformers(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Write a configuration of ``transformers`` as open_clip's.

    Args:
        content: of ``config.json``.
        path: the file, for messages.

    Raises:
        UserError: for another model than CLIP or SigLIP, or an activation that neither has.
    """
    kind = content.get("model_type")
    if kind not in _DEFAULTS:
        raise UserError(
            f"{path}: describes a '{kind}', but {' and '.join(_DEFAULTS)} are known of transformers"
        )
    text, vision = (
        {**defaults, **(content.get(part) or {})} for part, defaults in _DEFAULTS[kind].items()
    )
    try:
        return _siglip(text, vision) if kind == "siglip" else _clip(content, text, vision)
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise UserError(f"{path}: no configuration of a {kind} ({error!r})") from error


def _clip(
    content: Mapping[str, Any], text: Mapping[str, Any], vision: Mapping[str, Any]
) -> dict[str, Any]:
    quick = {part["hidden_act"] == "quick_gelu" for part in (text, vision)}
    if len(quick) > 1:
        raise KeyError("two activations")
    return {
        "embed_dim": content.get("projection_dim", 512),
        "quick_gelu": quick.pop(),
        "vision_cfg": {
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "head_width": vision["hidden_size"] // vision["num_attention_heads"],
            **_blocks(vision),
        },
        "text_cfg": _text(text),
    }


def _siglip(text: Mapping[str, Any], vision: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "embed_dim": vision["hidden_size"],
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {
            "image_size": vision["image_size"],
            "timm_model_name": siglip_trunk(vision),
            "timm_pool": "map",
            "timm_proj": "none",
        },
        "text_cfg": {
            **_text(text),
            "no_causal_mask": True, "proj_bias": True, "pool_type": "last",
            "tokenizer_kwargs": {"clean": "canonicalize"},
        },
    }  # fmt: skip


def _text(text: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "context_length": text["max_position_embeddings"],
        "vocab_size": text["vocab_size"],
        "heads": text["num_attention_heads"],
        **_blocks(text),
    }


def _blocks(part: Mapping[str, Any]) -> dict[str, Any]:
    """What both towers say of their blocks."""
    kinds = {"quick_gelu": None, "gelu": None, "gelu_pytorch_tanh": {"approximate": "tanh"}}
    return {
        "width": part["hidden_size"],
        "layers": part["num_hidden_layers"],
        "mlp_ratio": part["intermediate_size"] / part["hidden_size"],
        "norm_kwargs": {"eps": part["layer_norm_eps"]},
        "act_kwargs": kinds[part["hidden_act"]],
    }
