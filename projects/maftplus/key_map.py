"""Names of published FC-CLIP and MAFT+ checkpoints and of this suite.

Every rule is a pair (published, ours) with ``{}`` for a number or a tail; rules are tried in order
and work in both directions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_PIXEL, _OURS_PIXEL = "sem_seg_head.pixel_decoder.", "pixel_decoder."
_DECODER, _OURS_DECODER = "sem_seg_head.predictor.", "decoder."
_MLP = {0: 0, 1: 2, 2: 4}  # published layer number -> place in our sequence (ReLUs stand between)

RULES: tuple[tuple[str, str], ...] = (
    ("backbone.clip_model.{}", "clip.model.{}"),
    ("backbone_t.clip_model.{}", "teacher.{}"),
    (_PIXEL + "transformer.level_embed", _OURS_PIXEL + "level_embed"),
    (_PIXEL + "transformer.encoder.layers.{}.self_attn.{}", _OURS_PIXEL + "layers.{}.attention.{}"),
    (_PIXEL + "transformer.encoder.layers.{}.{}", _OURS_PIXEL + "layers.{}.{}"),
    (_PIXEL + "adapter_1.norm.{}", _OURS_PIXEL + "lateral.1.{}"),
    (_PIXEL + "adapter_1.{}", _OURS_PIXEL + "lateral.0.{}"),
    (_PIXEL + "layer_1.norm.{}", _OURS_PIXEL + "smooth.1.{}"),
    (_PIXEL + "layer_1.{}", _OURS_PIXEL + "smooth.0.{}"),
    (_PIXEL + "{}", _OURS_PIXEL + "{}"),
    (
        _DECODER + "transformer_cross_attention_layers.{}.multihead_attn.{}",
        _OURS_DECODER + "layers.{}.cross_attention.{}",
    ),
    (
        _DECODER + "transformer_cross_attention_layers.{}.norm.{}",
        _OURS_DECODER + "layers.{}.cross_norm.{}",
    ),
    (
        _DECODER + "transformer_self_attention_layers.{}.self_attn.{}",
        _OURS_DECODER + "layers.{}.self_attention.{}",
    ),
    (
        _DECODER + "transformer_self_attention_layers.{}.norm.{}",
        _OURS_DECODER + "layers.{}.self_norm.{}",
    ),
    (
        _DECODER + "transformer_ffn_layers.{}.norm.{}",
        _OURS_DECODER + "layers.{}.feedforward_norm.{}",
    ),
    (_DECODER + "transformer_ffn_layers.{}.linear1.{}", _OURS_DECODER + "layers.{}.linear1.{}"),
    (_DECODER + "transformer_ffn_layers.{}.linear2.{}", _OURS_DECODER + "layers.{}.linear2.{}"),
    (_DECODER + "decoder_norm.{}", _OURS_DECODER + "norm.{}"),
    (_DECODER + "_mask_pooling_proj.{}", _OURS_DECODER + "pooling_proj.{}"),
    *(
        (f"{_DECODER}{part}.layers.{theirs}.{{}}", f"{_OURS_DECODER}{part}.{ours}.{{}}")
        for part in ("mask_embed", "class_embed")
        for theirs, ours in _MLP.items()
    ),
    (_DECODER + "{}", _OURS_DECODER + "{}"),
    ("cdt.cross_atten.multihead_attn.{}", "transfer.attention.{}"),
    ("cdt.cross_atten.norm.{}", "transfer.norm.{}"),
    ("cdt.cross_atten.MLP.{}", "transfer.mlp.{}"),
    ("void_embedding.weight", "text_rows.void.weight"),
)


def our_name(published: str) -> str:
    """Translate a published name; an unknown one is given back unchanged."""
    return _translate(published, [(a, b) for a, b in RULES])


def published_name(ours: str) -> str:
    """Translate a name of this suite; an unknown one is given back unchanged."""
    return _translate(ours, [(b, a) for a, b in RULES])


def rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translate the names of a published state dict."""
    return {our_name(name): value for name, value in tensors.items()}


def _translate(name: str, rules: list[tuple[str, str]]) -> str:
    for pattern, result in rules:
        found = _compiled(pattern).fullmatch(name)
        if found:
            return result.format(*found.groups())
    return name


def _compiled(pattern: str) -> re.Pattern[str]:
    # The last mark takes the rest of the name, the others one part of it.
    parts = [re.escape(p) for p in pattern.split("{}")]
    last = len(parts) - 2
    marks = ["(.+)" if i == last else r"(\d+)" for i in range(len(parts) - 1)]
    return re.compile("".join(p + m for p, m in zip(parts, [*marks, ""], strict=True)))
