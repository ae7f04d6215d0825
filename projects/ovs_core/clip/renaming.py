"""Bringing the tensors of other code bases' CLIPs to open_clip's names.

Of ``transformers``: ``CLIPModel``, to open_clip's own ViT and text tower, and ``SiglipModel``, to
timm's ViT with attention pooling. Of Apple: MobileCLIP, by open_clip's own map. Letters: C width.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from torch import Tensor, nn

_PARTS = ("q_proj", "k_proj", "v_proj")
# Buffers of old files that only count positions.
_COUNTERS = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")

_BLOCK = [
    (r"\.self_attn\.in_proj\.(weight|bias)$", r".attn.in_proj_\1"),
    (r"\.self_attn\.out_proj\.", ".attn.out_proj."),
    (r"\.layer_norm([12])\.", r".ln_\1."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
]
_TEXT = [
    (r"^text_model\.encoder\.layers\.", "transformer.resblocks."),
    (r"^text_model\.embeddings\.token_embedding\.", "token_embedding."),
    (r"^text_model\.embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^text_model\.final_layer_norm\.", "ln_final."),
]
_CLIP = [
    *_TEXT,
    (r"^vision_model\.encoder\.layers\.", "visual.transformer.resblocks."),
    (r"^vision_model\.embeddings\.class_embedding$", "visual.class_embedding"),
    (r"^vision_model\.embeddings\.patch_embedding\.", "visual.conv1."),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
    (r"^vision_model\.pre_layrnorm\.", "visual.ln_pre."),  # spelled so there
    (r"^vision_model\.post_layernorm\.", "visual.ln_post."),
    (r"^visual_projection\.weight$", "visual.proj"),
    (r"^text_projection\.weight$", "text_projection"),
    *_BLOCK,
]
_SIGLIP_TEXT = [*_TEXT, *_BLOCK, (r"^text_model\.head\.", "text_projection.")]
_SIGLIP_VISION = [
    (r"^vision_model\.encoder\.layers\.", "visual.trunk.blocks."),
    (r"\.self_attn\.in_proj\.", ".attn.qkv."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
    (r"\.layer_norm([12])\.", r".norm\1."),
    (r"^vision_model\.embeddings\.patch_embedding\.", "visual.trunk.patch_embed.proj."),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.trunk.pos_embed"),
    (r"^vision_model\.post_layernorm\.", "visual.trunk.norm."),
    (r"^vision_model\.head\.probe$", "visual.trunk.attn_pool.latent"),
    (r"^vision_model\.head\.attention\.(q|kv)_", r"visual.trunk.attn_pool.\1."),
    (r"^vision_model\.head\.attention\.out_proj\.", "visual.trunk.attn_pool.proj."),
    (r"^vision_model\.head\.layernorm\.", "visual.trunk.attn_pool.norm."),
    (r"^vision_model\.head\.mlp\.", "visual.trunk.attn_pool.mlp."),
]


def to_open_clip(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Give a CLIP's tensors the names and shapes that an open_clip model has.

    Args:
        tensors: of any code base that is known here; others are given back as they are.
        model: the open_clip model that they are for; not changed.
    """
    found = dict(tensors)
    if is_transformers(found):
        found = from_transformers(found)
    found = dict(convert_state_dict(model, found))  # Apple's files of MobileCLIP
    state = model.state_dict()
    if "positional_embedding" in found and "text.positional_embedding" in state:
        found = dict(convert_to_custom_text_state_dict(found))
    for name in ("logit_scale", "logit_bias"):  # a scalar, or a vector of one
        if name in found and name in state and found[name].numel() == state[name].numel() == 1:
            found[name] = found[name].reshape(state[name].shape)
    return found


def is_transformers(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of a ``CLIPModel`` or ``SiglipModel``."""
    return "vision_model.embeddings.patch_embedding.weight" in tensors


def from_transformers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename what ``CLIPModel.state_dict()`` or ``SiglipModel.state_dict()`` gives.

    Args:
        tensors: name -> tensor; what no rule knows keeps its name.

    Returns:
        Tensors in open_clip's names, queries, keys and values in one matrix.
    """
    fused = _fuse({k: v for k, v in tensors.items() if k not in _COUNTERS})
    if "vision_model.head.probe" not in fused:
        renamed = {_rename(name, _CLIP): value for name, value in fused.items()}
        for name in ("visual.proj", "text_projection"):
            if name in renamed:
                renamed[name] = renamed[name].t().contiguous()
        return renamed
    renamed = {}
    for name, value in _split_head(fused).items():
        if name.startswith("text_model."):
            renamed[f"text.{_rename(name, _SIGLIP_TEXT)}"] = value
        else:
            renamed[_rename(name, _SIGLIP_VISION)] = value
    if (table := renamed.get("visual.trunk.pos_embed")) is not None:
        renamed["visual.trunk.pos_embed"] = table[None]
    return renamed


def _rename(name: str, rules: list[tuple[str, str]]) -> str:
    for pattern, instead in rules:
        name = re.sub(pattern, instead, name)
    return name


def _fuse(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put the projections of queries, keys and values of each block below each other: (3C, C)."""
    fused = {}
    for name, value in tensors.items():
        if ".self_attn.q_proj." in name:
            parts = [tensors.get(name.replace("q_proj", part)) for part in _PARTS]
            whole = [part for part in parts if part is not None]
            if len(whole) == len(_PARTS):
                fused[name.replace("q_proj", "in_proj")] = torch.cat(whole)
        elif not re.search(r"\.self_attn\.[kv]_proj\.", name):
            fused[name] = value
    return fused


def _split_head(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Part the projections of SigLIP's pooling as timm has them: queries, and keys with values."""
    split = {}
    head = "vision_model.head.attention."
    for name, value in tensors.items():
        if name.startswith(f"{head}in_proj_"):
            width = len(value) // 3
            kind = name.removeprefix(f"{head}in_proj_")
            split[f"{head}q_{kind}"], split[f"{head}kv_{kind}"] = value[:width], value[width:]
        else:
            split[name] = value
    return split
