"""From ``MODEL.CLIPTRASE`` to the parts of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode

from ovs_core.clip import CLIP, PositionRule, TextEmbedder, TextEncoder
from ovs_core.errors import UserError, check_choice
from ovs_core.modeling.build import segmenter_arguments
from ovs_core.modeling.pixel_statistics import PixelStatistics
from ovs_core.modeling.score_thresholds import ScoreThresholds
from ovs_core.words.class_lists import load_templates

from .mask_sources import GivenSource, MaskSource, TowerSource, load_dino
from .maskclip import MaskClipTower, use_released_numerics
from .regions import RegionRule
from .sam import SamMasks
from .sam_backends import load_predictor
from .sclip import SclipRule
from .scoring import CosineScorer, MaskClipScorer
from .surgery import SurgeryScorer, SurgeryTower
from .tower import RecoveryTower, TowerRule
from .views import PROTOCOLS, View

KEY = "MODEL.CLIPTRASE"
METHODS = ("cliptrase", "clip", "sclip", "maskclip", "clip_surgery")
CLS_PRODUCT = ("auto", "on", "off")
MASK_SOURCES = ("scr", "dino", "external")
MASKCLIP_MODES = ("faithful", "released")


def cliptrase_arguments(cfg: CfgNode) -> dict[str, Any]:
    """Give the constructor arguments of ``CLIPtrase``.

    Raises:
        UserError: for an unknown value, or keys that contradict each other.
    """
    node = cfg.MODEL.CLIPTRASE
    check_choice(f"{KEY}.METHOD", node.METHOD, METHODS)
    check_choice(f"{KEY}.PROTOCOL", node.PROTOCOL, (*PROTOCOLS, "ovs"))
    check_choice(f"{KEY}.MASK_SOURCE", node.MASK_SOURCE, MASK_SOURCES)
    _check_combination(node)
    shared = segmenter_arguments(cfg)
    if node.SCENE_TEMPLATES:
        shared["templates"] = [*shared["templates"], *scene_templates()]
    regions = node.METHOD == "cliptrase" and node.CLUSTER.ENABLED
    return {
        **shared,
        **_method_parts(cfg, shared["clip"], shared["templates"]),
        "view": build_view(node),
        "regions": region_rule(node) if regions else None,
        "vote": node.VOTE,
        "mask_source": _mask_source(cfg) if regions else None,
        "sam": _sam(cfg) if regions else None,
        "gt_restricted": node.METHOD == "cliptrase" and node.SCR.GT_RESTRICTED,
    }


def scene_templates() -> list[str]:
    """Give the five templates that make CLIP-Surgery's and MaskCLIP's 85 of the 80."""
    return [t for t in load_templates("vild_14") if t.endswith("in the scene.")]


def tower_rule(node: CfgNode) -> TowerRule:
    """Read how CLIPtrase's tower is run; plain CLIP and SCLIP only have another attention."""
    own = node.METHOD == "cliptrase"
    attention = {"clip": "vanilla", "sclip": "csa"}.get(node.METHOD, node.SCR.ATTENTION)
    clustered = own and node.CLUSTER.ENABLED and node.MASK_SOURCE == "scr"
    return TowerRule(
        attention=attention if node.SCR.ENABLED or not own else "vanilla",
        layer=node.SCR.LAYER if own else -1,
        corr_layer=node.CORR.LAYER if clustered else None,
        corr_kind=node.CORR.KIND,
        corr_heads=node.CORR.HEADS,
        positions=PositionRule(offset=0.1, keep_same_count=node.POSITION_SAME_COUNT),
    )


def region_rule(node: CfgNode) -> RegionRule:
    """Read how regions are found."""
    return RegionRule(
        eps=node.CLUSTER.EPS,
        min_samples=node.CLUSTER.MIN_SAMPLES,
        denoise=node.DENOISE,
        normalize=node.CLUSTER.NORMALIZE,
        target=node.CLUSTER.TARGET,
        up=node.MASK.UP,
        median=node.MASK.MEDIAN,
    )


def build_view(node: CfgNode) -> View | None:
    """Read how a picture is brought to the tower; None leaves it to ``MODEL.OVS.PROTOCOL``."""
    if node.PROTOCOL == "ovs":
        return None
    return View(
        node.PROTOCOL,
        node.IMAGE_SIZE,
        node.D2.SIZE_DIVISIBILITY,
        node.D2.CLIP_RESOLUTION,
        not node.D2.PADDING_BUG,
    )


def uses_cls_product(cfg: CfgNode) -> bool:
    """Whether class maps are multiplied by CLS logits; ``auto`` decides by the test set's name.

    Raises:
        UserError: if ``auto`` would decide differently for two test sets of one run.
    """
    node = cfg.MODEL.CLIPTRASE
    check_choice(f"{KEY}.CLS_PRODUCT", node.CLS_PRODUCT, CLS_PRODUCT)
    if node.METHOD != "cliptrase" or node.CLS_PRODUCT != "auto":
        return node.METHOD == "cliptrase" and node.CLS_PRODUCT == "on"
    names = [name.lower() for name in cfg.DATASETS.TEST]
    if node.PROTOCOL == "d2":
        decisions = {"voc" in name for name in names}
    else:
        # VOC20 alone: not VOC21, and not VOC20b, which scores a background class.
        decisions = {"voc20" in name.replace("_", "").replace("voc20b", "") for name in names}
    if len(decisions) > 1:
        raise UserError(
            f"{KEY}.CLS_PRODUCT auto means another thing for each of DATASETS.TEST "
            f"{tuple(cfg.DATASETS.TEST)}; evaluate them in runs of their own, or say on or off"
        )
    return decisions == {True}


def _method_parts(cfg: CfgNode, clip: CLIP, templates: Sequence[str]) -> dict[str, Any]:
    """Tower, scorer and what else differs between the methods."""
    node = cfg.MODEL.CLIPTRASE
    if node.METHOD == "maskclip":
        return _maskclip_parts(node, clip)
    if node.METHOD == "clip_surgery":
        embedder = TextEmbedder(TextEncoder(clip))
        return {
            "tower": SurgeryTower(clip.visual, depth=node.SURGERY.DEPTH),
            "scorer": SurgeryScorer(lambda: embedder.texts([""], templates)),
        }
    own_protocol = node.METHOD == "sclip" and node.SCLIP.OWN_PROTOCOL
    scale = 1.0 if own_protocol else node.LOGIT_SCALE or clip.logit_scale
    return {
        "tower": RecoveryTower(clip.visual, tower_rule(node)),
        "scorer": CosineScorer(scale, node.NORMALIZE_FEATURES, uses_cls_product(cfg)),
        "sclip": _sclip_rule(node.SCLIP) if own_protocol else None,
    }


def _maskclip_parts(node: CfgNode, clip: CLIP) -> dict[str, Any]:
    mode = node.MASKCLIP.MODE
    check_choice(f"{KEY}.MASKCLIP.MODE", mode, MASKCLIP_MODES)
    released = mode == "released"
    if released:
        use_released_numerics(clip.visual)
    threshold = node.MASKCLIP.KS_THRESH
    return {
        "tower": MaskClipTower(clip.visual, keys=threshold > 0),
        "scorer": MaskClipScorer(node.MASKCLIP.PD_THRESH, threshold, unit_keys=not released),
        # The released code shows OpenAI's weights pictures in ImageNet's statistics.
        "statistics": PixelStatistics() if released else None,
    }


def _sclip_rule(node: CfgNode) -> SclipRule:
    return SclipRule(
        thresholds=ScoreThresholds(
            scale=node.SCALE,
            probability=node.PROB_THD,
            area=None if node.AREA_THD < 0 else node.AREA_THD,
        ),
        pamr_steps=node.PAMR_STEPS,
        pamr_dilations=tuple(node.PAMR_DILATIONS),
    )


def _mask_source(cfg: CfgNode) -> MaskSource:
    node = cfg.MODEL.CLIPTRASE
    if node.MASK_SOURCE == "dino":
        return load_dino(node.DINO.MODEL, node.DINO.WEIGHTS, cfg.MODEL.DEVICE)
    return TowerSource() if node.MASK_SOURCE == "scr" else GivenSource()


def _sam(cfg: CfgNode) -> SamMasks | None:
    node = cfg.MODEL.CLIPTRASE.SAM
    if not node.ENABLED:
        return None
    predictor = load_predictor(node.BACKEND, node.MODEL, node.WEIGHTS, cfg.MODEL.DEVICE)
    return SamMasks(predictor, node.MAX_POINTS)


def _check_combination(node: CfgNode) -> None:
    """Refuse keys that would have no effect where a person expects one."""
    regions = node.METHOD == "cliptrase" and node.CLUSTER.ENABLED
    if node.PROTOCOL == "ovs" and regions:
        raise UserError(
            f"{KEY}.PROTOCOL ovs (windows, scales, flips) labels pixels one by one; for "
            "regions use standalone, fullres or d2, or set CLUSTER.ENABLED False"
        )
    if node.METHOD == "sclip" and node.SCLIP.OWN_PROTOCOL and node.PROTOCOL != "ovs":
        raise UserError(f"{KEY}.SCLIP.OWN_PROTOCOL needs PROTOCOL ovs, whose windows it averages")
    if node.SAM.ENABLED and not regions:
        raise UserError(
            f"{KEY}.SAM takes its points from clusters; it needs METHOD cliptrase and "
            "CLUSTER.ENABLED True"
        )
