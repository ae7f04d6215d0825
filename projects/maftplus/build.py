"""From the config of FC-CLIP and MAFT+ to the parts of their models."""

from __future__ import annotations

from functools import partial
from typing import Any

from detectron2.config import CfgNode

from ovs_core.clip import ClipIdentity
from ovs_core.clip.conv_encoder import ConvEncoder
from ovs_core.data.build import dataset_metadata
from ovs_core.errors import UserError
from ovs_core.modeling.build import build_clip, segmenter_arguments
from ovs_core.modeling.mask2former import (
    MaskedAttentionDecoder,
    PixelDecoder,
    QueryInit,
    build_criterion,
    whole_picture,
)
from ovs_core.words.dataset_words import dataset_vocabulary
from ovs_core.words.vocabulary import Vocabulary

from .compensation import Compensation
from .mask_segmenter import Tasks
from .published import load_teacher
from .transfer import ContentTransfer


def fcclip_arguments(cfg: CfgNode) -> dict[str, Any]:
    """Give the constructor arguments of ``FCCLIP``."""
    node = cfg.MODEL.FC_CLIP
    return {
        **mask_segmenter_arguments(cfg),
        "alpha": node.GEOMETRIC_ENSEMBLE_ALPHA,
        "beta": node.GEOMETRIC_ENSEMBLE_BETA,
        "ensemble_on_valid_mask": node.ENSEMBLE_ON_VALID_MASK,
    }


def maftplus_arguments(cfg: CfgNode) -> dict[str, Any]:
    """Give the constructor arguments of ``MAFTPlus``."""
    node, shared = cfg.MODEL.MAFTPLUS, mask_segmenter_arguments(cfg)
    return {
        **shared,
        "transfer": build_transfer(cfg, shared["clip"].embed_dim) if node.CDT else None,
        "build_teacher": partial(build_original_trunk, cfg),
        "compensation": Compensation(tuple(node.RC_SCALES), node.RC_PREPARATION, node.RC_DISTANCE),
        "compensation_weight": node.RC_WEIGHT,
        "mask_aware_weight": node.MASK_AWARE_WEIGHT,
        "tuned": node.TUNE_TRUNK,
        "drop_path": node.DROP_PATH,
        "drop_path_switch": node.DROP_PATH_SWITCH,
    }


def build_transfer(cfg: CfgNode, dim: int) -> ContentTransfer:
    """Build the content-dependent transfer of ``MODEL.MAFTPLUS`` for a joint width."""
    node = cfg.MODEL.MAFTPLUS
    return ContentTransfer(dim, heads=node.CDT_HEADS, norm=node.CDT_NORM, layout=node.CDT_LAYOUT)


def mask_segmenter_arguments(cfg: CfgNode) -> dict[str, Any]:
    """Give the constructor arguments that FC-CLIP and MAFT+ share.

    Raises:
        UserError: if the config asks for windows, scales or flips.
    """
    segmenter = whole_picture(segmenter_arguments(cfg))
    clip = segmenter["clip"]
    return {
        **segmenter,
        "pixel_decoder": build_pixel_decoder(cfg, ConvEncoder(clip.visual).channels),
        "decoder": build_query_decoder(cfg, clip.embed_dim),
        "criterion": build_criterion(cfg.MODEL.MASK_FORMER),
        "query_init": QueryInit(
            cfg.MODEL.MASK_FORMER.QUERY_INIT,
            "MODEL.MASK_FORMER.QUERY_INIT",
            "NUM_OBJECT_QUERIES, HIDDEN_DIM of MODEL.MASK_FORMER",
            "`ovsuite analyse cliptrase` makes one",
        ),
        "trained_words": training_vocabulary(cfg),
        "tasks": build_tasks(cfg),
    }


def build_original_trunk(cfg: CfgNode, student: ClipIdentity) -> ConvEncoder:
    """Build the trunk that training started from, which representation compensation stays near.

    It is that of the config's CLIP; if the model took its CLIP from a published checkpoint
    (``MODEL.CLIP.PRETRAINED random``), it is the teacher's in that file.

    Args:
        cfg: finished config.
        student: the CLIP that the model stands on.

    Raises:
        UserError: if the checkpoint holds no teacher.
    """
    clip = build_clip(cfg)
    if clip.identity.text_fingerprint != student.text_fingerprint:
        load_teacher(clip.visual, cfg.MODEL.WEIGHTS)
    return ConvEncoder(clip.visual)


def training_vocabulary(cfg: CfgNode) -> Vocabulary:
    """Give the words of ``DATASETS.TRAIN``; evaluation needs them to know what was seen.

    Raises:
        UserError: if no training set is named.
    """
    if not cfg.DATASETS.TRAIN:
        raise UserError(
            "DATASETS.TRAIN is empty; mask-based methods must know the words that the weights were "
            "trained with, also for evaluation"
        )
    return dataset_vocabulary(
        dataset_metadata(cfg.DATASETS.TRAIN[0]),
        name_field=cfg.MODEL.OVS.NAME_FIELD,
        synonym_field=cfg.MODEL.OVS.SYNONYM_FIELD,
    )


def build_pixel_decoder(cfg: CfgNode, channels: dict[str, int]) -> PixelDecoder:
    """Build the pixel decoder of ``MODEL.SEM_SEG_HEAD``."""
    head = cfg.MODEL.SEM_SEG_HEAD
    return PixelDecoder(
        channels,
        dim=head.CONVS_DIM,
        mask_dim=head.MASK_DIM,
        layers=head.TRANSFORMER_ENC_LAYERS,
        heads=cfg.MODEL.MASK_FORMER.NHEADS,
        feedforward=head.TRANSFORMER_ENC_FEEDFORWARD,
    )


def build_query_decoder(cfg: CfgNode, embed_dim: int) -> MaskedAttentionDecoder:
    """Build the transformer decoder of ``MODEL.MASK_FORMER``.

    Raises:
        UserError: if the widths do not fit.
    """
    node, head = cfg.MODEL.MASK_FORMER, cfg.MODEL.SEM_SEG_HEAD
    if head.MASK_DIM != node.HIDDEN_DIM:
        raise UserError(
            f"MODEL.SEM_SEG_HEAD.MASK_DIM ({head.MASK_DIM}) must equal MASK_FORMER.HIDDEN_DIM "
            f"({node.HIDDEN_DIM}): pooled mask features are added to the queries"
        )
    if node.DEC_LAYERS < 2:
        raise UserError(
            "MODEL.MASK_FORMER.DEC_LAYERS counts prediction heads, one more than layers; give >= 2"
        )
    return MaskedAttentionDecoder(
        embed_dim=embed_dim,
        input_dim=head.CONVS_DIM,
        dim=node.HIDDEN_DIM,
        mask_dim=head.MASK_DIM,
        queries=node.NUM_OBJECT_QUERIES,
        layers=node.DEC_LAYERS - 1,
        heads=node.NHEADS,
        feedforward=node.DIM_FEEDFORWARD,
    )


def build_tasks(cfg: CfgNode) -> Tasks:
    """Read ``MODEL.MASK_FORMER.TEST``."""
    node = cfg.MODEL.MASK_FORMER.TEST
    return Tasks(
        semantic=node.SEMANTIC_ON,
        panoptic=node.PANOPTIC_ON,
        instance=node.INSTANCE_ON,
        object_threshold=node.OBJECT_MASK_THRESHOLD,
        overlap_threshold=node.OVERLAP_THRESHOLD,
        detections=cfg.TEST.DETECTIONS_PER_IMAGE,
        logits_first=node.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE,
        pad_together=node.PAD_TOGETHER,
    )
