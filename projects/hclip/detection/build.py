"""From ``MODEL.HCLIP_DET`` and Detectron2's keys to the parts of the detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone, build_proposal_generator, build_roi_heads

from ovs_core.clip import CLIP
from ovs_core.data.build import dataset_metadata
from ovs_core.errors import UserError
from ovs_core.modeling.build import build_clip, build_templates

from ..build import finetune_settings
from ..finetune import FinetuneSettings, adapt
from .adapted import check_source, load_adaptation
from .encoder import DENSE, AdaptedEncoder
from .fusion import FusionSettings, ScoreFusion

PARTS = {
    "BACKBONE": "AdaptedBackbone",
    "PROPOSAL_GENERATOR": "PictureRPN",
    "ROI_HEADS": "RegionTextROIHeads",
}


def detector_arguments(cfg: CfgNode) -> dict[str, Any]:
    """Give the constructor arguments of ``HCLIPDetector``; the colour statistics are the CLIP's.

    Raises:
        UserError: if the config asks for parts of another detector.
    """
    for part, name in PARTS.items():
        if cfg.MODEL[part].NAME != name:
            raise UserError(
                f"MODEL.META_ARCHITECTURE HCLIPDetector needs MODEL.{part}.NAME {name}, not "
                f"{cfg.MODEL[part].NAME}"
            )
    base = base_names(cfg.DATASETS.TRAIN)
    backbone = build_backbone(cfg)
    shapes = backbone.output_shape()
    check_levels(cfg, shapes)
    clip = backbone.encoder.clip
    return {
        "backbone": backbone,
        "proposal_generator": build_proposal_generator(cfg, shapes),
        "roi_heads": build_roi_heads(cfg, shapes),
        "input_format": cfg.INPUT.FORMAT,
        "vis_period": cfg.VIS_PERIOD,
        "pixel_mean": clip.pixel_mean.flatten().tolist(),
        "pixel_std": clip.pixel_std.flatten().tolist(),
        "templates": build_templates(cfg),
        "base_names": base,
    }


def backbone_arguments(cfg: CfgNode) -> dict[str, Any]:
    """Give the constructor arguments of ``AdaptedBackbone``."""
    node = cfg.MODEL.HCLIP_DET
    encoder = build_adapted_encoder(
        build_clip(cfg),
        finetune_settings(cfg),
        adapted=node.ADAPTED,
        taps=node.TAPS,
        last_block=node.LAST_BLOCK,
    )
    return {
        "encoder": encoder,
        "channels": cfg.MODEL.FPN.OUT_CHANNELS,
        "norm": cfg.MODEL.FPN.NORM,
    }


def build_adapted_encoder(
    clip: CLIP,
    finetune: FinetuneSettings,
    *,
    adapted: str = "",
    taps: Sequence[int] = (3, 5, 7, 11),
    last_block: str = "cls",
) -> AdaptedEncoder:
    """Adapt a CLIP as a segmentation run did, and freeze it.

    Args:
        clip: the CLIP that the run stood on; changed in place.
        finetune: how it was adapted.
        adapted: checkpoint of the run; "" for a CLIP that is used as it is.
        taps: see ``AdaptedEncoder``.
        last_block: see ``AdaptedEncoder``.

    Raises:
        UserError: if the checkpoint is missing, of another kind, or stands on another CLIP.
    """
    adaptation = adapt(clip, finetune)
    check_source(finetune.mode, adapted)
    if adapted:
        load_adaptation(clip, adaptation, adapted)
    return AdaptedEncoder(clip, adaptation, taps=taps, last_block=last_block)


def classifier_arguments(cfg: CfgNode) -> dict[str, Any]:
    """Give what ``RegionClassifier`` has beside the arguments of Detectron2's box layers."""
    node = cfg.MODEL.HCLIP_DET
    return {
        "temperature": node.TEMPERATURE,
        "background_weight": node.BACKGROUND_WEIGHT,
        "novel_negatives": node.NOVEL_NEGATIVES,
    }


def build_fusion(cfg: CfgNode, stride: int) -> ScoreFusion | None:
    """Build the fusion of ``FUSION`` for patches of ``stride`` pixels; None where it is off."""
    node = cfg.MODEL.HCLIP_DET.FUSION
    settings = FusionSettings(node.TEMPERATURE, node.BASE_WEIGHT, node.NOVEL_WEIGHT)
    return ScoreFusion(stride, settings) if node.ENABLED else None


def base_names(datasets: Sequence[str]) -> list[str]:
    """Give the names of the classes that a detector learns from its first training set.

    Raises:
        UserError: if that is no dataset of boxes.
    """
    if not datasets:
        return []
    metadata = dataset_metadata(datasets[0])
    names = metadata.get("thing_classes")
    if not names or metadata.get("stuff_classes"):
        raise UserError(
            f"DATASETS.TRAIN {datasets[0]}: is no dataset of boxes; name a dataset of "
            "instances, such as coco_detection_48_17_train or embedded_detection_train"
        )
    seen = metadata.get("seen_classes") or range(len(names))
    return [names[i] for i in seen]


def check_levels(cfg: CfgNode, shapes: Mapping[str, ShapeSpec]) -> None:
    """Refuse pyramid levels that this CLIP's patch size does not give.

    Raises:
        UserError: names the level and those there are.
    """
    levels = [name for name in shapes if name != DENSE]
    for part in ("RPN", "ROI_HEADS"):
        unknown = [name for name in cfg.MODEL[part].IN_FEATURES if name not in levels]
        if unknown:
            raise UserError(
                f"MODEL.{part}.IN_FEATURES: '{unknown[0]}' does not exist; with patches of "
                f"{shapes[DENSE].stride} pixels the pyramid has {', '.join(levels)}"
            )
