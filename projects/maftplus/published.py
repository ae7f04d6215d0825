"""Reading published FC-CLIP and MAFT+ checkpoints strictly."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ovs_core.clip.loading import RANDOM
from ovs_core.errors import UserError

from .key_map import rename

if TYPE_CHECKING:
    from .mask_segmenter import MaskSegmenter

logger = logging.getLogger(__name__)

_IMAGE, _CLIP, _TEACHER = "clip.model.visual.", "clip.model.", "teacher."
# Tables that open_clip builds itself and some versions store.
_DERIVED = ("clip.model.attn_mask",)


def rename_published(model: MaskSegmenter, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Translate a published state dict into this suite's names.

    The teacher's CLIP and the class weights of the loss are left out: the teacher is the CLIP that
    the config loads, and the weights follow from the config. Text weights equal to those of the
    loaded CLIP are left out too.

    Args:
        model: the model that will get them.
        tensors: the published state dict.

    Returns:
        Our name -> tensor.

    Raises:
        UserError: if a trained tensor is missing, or shapes or the CLIP differ.
    """
    renamed = rename(tensors)
    classes = renamed.pop("criterion.empty_weight", None)
    teacher = [name for name in renamed if name.startswith(_TEACHER)]
    for name in (*teacher, *(n for n in _DERIVED if n in renamed)):
        del renamed[name]
    if teacher:
        logger.info(
            "published checkpoint: %d tensors of the teacher CLIP are not needed", len(teacher)
        )
    state = model.state_dict()
    _check_fit(model, renamed, state)
    _check_classes(model, classes)
    return _settle_text_tower(model, renamed, state)


def _check_fit(model: MaskSegmenter, renamed: dict[str, Tensor], state: dict[str, Tensor]) -> None:
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
        f"{model.clip.architecture} with {model.decoder.num_queries} queries: {'; '.join(problems)}"
        ". "
        "Choose the config whose name fits the checkpoint"
    )


def _check_classes(model: MaskSegmenter, weights: Tensor | None) -> None:
    if weights is not None and len(weights) - 1 != len(model.trained_words):
        raise UserError(
            f"the checkpoint was trained on {len(weights) - 1} classes, but DATASETS.TRAIN of the "
            f"config has {len(model.trained_words)}; choose the config of its training set (for "
            "MAFT+ the norm of the transfer depends on it: 133 classes panoptic, 171 semantic)"
        )


def _settle_text_tower(
    model: MaskSegmenter, renamed: dict[str, Tensor], state: dict[str, Tensor]
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
