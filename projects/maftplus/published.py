"""Published FC-CLIP and MAFT+ checkpoints: their names, classes, CLIP and teacher.

The rules are those of ``ovs_core.modeling.published_names``.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from ovs_core.errors import UserError
from ovs_core.load_report import find_tensors, load_weights
from ovs_core.modeling.checkpoint import read_checkpoint
from ovs_core.modeling.published_names import translate, without_known_text
from ovs_core.modeling.segmenter import Segmenter

_TEACHER = "teacher."
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


def rename(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translate the names of a published state dict; unknown ones stay."""
    return {translate(name, RULES): value for name, value in tensors.items()}


def published_weights(
    model: Segmenter, tensors: Mapping[str, Tensor], *, classes: int
) -> dict[str, Tensor]:
    """Translate a published state dict into this suite's names.

    The teacher and the class weights of the loss are left out: the teacher is wanted in training
    alone (``load_teacher``), and the weights follow from the config. Text weights equal to those of
    the loaded CLIP are left out too.

    Args:
        model: the model that will get them.
        tensors: the published state dict.
        classes: how many the model is trained on.

    Returns:
        Our name -> tensor.

    Raises:
        UserError: if the checkpoint was trained on other classes or stands on another CLIP.
    """
    renamed = rename(tensors)
    _check_classes(renamed.pop("criterion.empty_weight", None), classes)
    kept = {
        name: value
        for name, value in renamed.items()
        if not name.startswith(_TEACHER) and name not in _DERIVED
    }
    return without_known_text(model, kept)


def load_teacher(visual: nn.Module, path: str) -> None:
    """Give an image tower the weights of the teacher in a published MAFT+ checkpoint.

    Args:
        visual: image tower of the teacher's architecture.
        path: the checkpoint.

    Raises:
        UserError: if it holds no teacher.
    """
    prefix = f"{_TEACHER}visual."
    tensors = rename(find_tensors(read_checkpoint(path), path))
    load_weights(
        visual,
        {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)},
        source=path,
        owner="the original CLIP that MAFT+ trains against",
        mend="set MODEL.CLIP.PRETRAINED to the published tag",
    )


def _check_classes(weights: Tensor | None, classes: int) -> None:
    if weights is not None and len(weights) - 1 != classes:
        raise UserError(
            f"the checkpoint was trained on {len(weights) - 1} classes, but DATASETS.TRAIN of the "
            f"config has {classes}; choose the config of its training set (for "
            "MAFT+ the norm of the transfer depends on it: 133 classes panoptic, 171 semantic)"
        )
