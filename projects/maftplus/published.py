"""Published FC-CLIP and MAFT+ checkpoints: names, and how they are read strictly.

Every rule is a pair (published, ours) with ``{}`` for a number or a tail; rules are tried in order
and work in both directions.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ovs_core.clip.loading import RANDOM
from ovs_core.errors import UserError
from ovs_core.modeling.segmenter import Segmenter

logger = logging.getLogger(__name__)

_IMAGE, _CLIP, _TEACHER = "clip.model.visual.", "clip.model.", "teacher."
# Tables that open_clip builds itself and some versions store.
_DERIVED = ("clip.model.attn_mask",)
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
    return translate(published, RULES)


def rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translate the names of a published state dict."""
    return {our_name(name): value for name, value in tensors.items()}


def translate(name: str, rules: Sequence[tuple[str, str]]) -> str:
    """Apply the first rule (pattern, result) that fits a name; without one it stays."""
    for pattern, result in rules:
        found = _compiled(pattern).fullmatch(name)
        if found:
            return result.format(*found.groups())
    return name


def rename_published(
    model: Segmenter, tensors: Mapping[str, Tensor], *, queries: int, classes: int
) -> dict[str, Tensor]:
    """Translate a published state dict into this suite's names.

    The teacher's CLIP and the class weights of the loss are left out: the teacher is the CLIP that
    the config loads, and the weights follow from the config. Text weights equal to those of the
    loaded CLIP are left out too.

    Args:
        model: the model that will get them.
        tensors: the published state dict.
        queries: how many the model has; named in messages.
        classes: how many the model is trained on.

    Returns:
        Our name -> tensor.

    Raises:
        UserError: if a trained tensor is missing, or shapes or the CLIP differ.
    """
    renamed = rename(tensors)
    class_weights = renamed.pop("criterion.empty_weight", None)
    teacher = [name for name in renamed if name.startswith(_TEACHER)]
    for name in (*teacher, *(n for n in _DERIVED if n in renamed)):
        del renamed[name]
    if teacher:
        logger.info(
            "published checkpoint: %d tensors of the teacher CLIP are not needed", len(teacher)
        )
    state = model.state_dict()
    _check_fit(model, renamed, state, queries)
    _check_classes(class_weights, classes)
    return _settle_text_tower(model, renamed, state)


def _check_fit(
    model: Segmenter, renamed: dict[str, Tensor], state: dict[str, Tensor], queries: int
) -> None:
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    missing = sorted(trained - renamed.keys())
    shapes = sorted(n for n in renamed.keys() & state.keys() if renamed[n].shape != state[n].shape)
    strange = sorted(n for n in renamed if n.startswith(_IMAGE) and n not in state)
    if not (missing or shapes or strange):
        return
    problems = []
    for words, names in (("missing", missing), ("of other shape", shapes), ("unknown", strange)):
        if names:
            problems.append(f"{len(names)} tensors {words} (first: {names[0]})")
    raise UserError(
        f"the checkpoint does not belong to a {type(model).__name__} on CLIP "
        f"{model.clip.architecture} with {queries} queries: {'; '.join(problems)}. Choose the "
        "config whose name fits the checkpoint"
    )


def _check_classes(weights: Tensor | None, classes: int) -> None:
    if weights is not None and len(weights) - 1 != classes:
        raise UserError(
            f"the checkpoint was trained on {len(weights) - 1} classes, but DATASETS.TRAIN of the "
            f"config has {classes}; choose the config of its training set (for "
            "MAFT+ the norm of the transfer depends on it: 133 classes panoptic, 171 semantic)"
        )


def _settle_text_tower(
    model: Segmenter, renamed: dict[str, Tensor], state: dict[str, Tensor]
) -> dict[str, Tensor]:
    text = [n for n in renamed if n.startswith(_CLIP) and not n.startswith(_IMAGE) and n in state]
    differing = [
        n for n in text if not torch.allclose(renamed[n].float(), state[n].cpu().float(), atol=1e-4)
    ]
    if not differing:
        return {name: value for name, value in renamed.items() if name not in set(text)}
    if model.clip.pretrained != RANDOM:
        raise UserError(
            f"the checkpoint stands on another CLIP than {model.clip.architecture} "
            f"({model.clip.pretrained}): {len(differing)} of {len(text)} text weights differ; set "
            f"MODEL.CLIP.PRETRAINED to the published tag, or to '{RANDOM}' to take CLIP from the "
            "checkpoint"
        )
    model.clip.__dict__.pop("text_fingerprint", None)  # of the random weights
    return renamed


def _compiled(pattern: str) -> re.Pattern[str]:
    # The last mark takes the rest of the name, the others one part of it.
    parts = [re.escape(p) for p in pattern.split("{}")]
    last = len(parts) - 2
    marks = ["(.+)" if i == last else r"(\d+)" for i in range(len(parts) - 1)]
    return re.compile("".join(p + m for p, m in zip(parts, [*marks, ""], strict=True)))
