"""CLIPtrase (Shao et al., ECCV 2024): recovered attention, clusters, one vote for each."""

from __future__ import annotations

from detectron2.config import CfgNode

from ovs_core.errors import UserError, check_choice
from ovs_core.modeling.segmenter import SegmenterArguments

from ..mask_files import PREFIX, FileSource
from ..mask_sources import GivenSource, MaskSource, TowerSource, load_dino
from ..regions import RegionRule
from ..sam import SamMasks
from ..sam_backends import load_predictor
from ..tower import RecoveryTower, TowerRule
from .registry import KEY, Parts, register_method
from .shared import cosine_scorer, position_rule

CLS_PRODUCT = ("auto", "on", "off")


@register_method()
def cliptrase(cfg: CfgNode, shared: SegmenterArguments) -> Parts:
    """Queries, keys and values attend to themselves; patches vote for their cluster's label."""
    node, clip = cfg.MODEL.CLIPTRASE, shared["clip"]
    clustered = node.CLUSTER.ENABLED and node.MASK_SOURCE == "scr"
    rule = TowerRule(
        attention=node.SCR.ATTENTION if node.SCR.ENABLED else "vanilla",
        layer=node.SCR.LAYER,
        corr_layer=node.CORR.LAYER if clustered else None,
        corr_kind=node.CORR.KIND,
        corr_heads=node.CORR.HEADS,
        positions=position_rule(cfg),
    )
    product = uses_cls_product(cfg)
    # Denoising, the product and the true labels look at CLS.
    needs_cls = node.CLUSTER.ENABLED or product or node.SCR.GT_RESTRICTED
    parts: Parts = {
        "tower": RecoveryTower(clip.visual, rule, accepts="cls" if needs_cls else "any"),
        "scorer": cosine_scorer(cfg, clip, cls_product=product),
        "gt_restricted": node.SCR.GT_RESTRICTED,
    }
    if node.CLUSTER.ENABLED:
        parts |= {"regions": _regions(node), "mask_source": _mask_source(cfg), "sam": _sam(cfg)}
    return parts


def uses_cls_product(cfg: CfgNode) -> bool:
    """Whether class maps are multiplied by CLS logits; ``auto`` decides by the test set's name.

    Raises:
        UserError: if ``auto`` would decide differently for two test sets of one run.
    """
    node = cfg.MODEL.CLIPTRASE
    check_choice(f"{KEY}.CLS_PRODUCT", node.CLS_PRODUCT, CLS_PRODUCT)
    if node.CLS_PRODUCT != "auto":
        return bool(node.CLS_PRODUCT == "on")
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


def _regions(node: CfgNode) -> RegionRule:
    return RegionRule(
        eps=node.CLUSTER.EPS,
        min_samples=node.CLUSTER.MIN_SAMPLES,
        denoise=node.DENOISE,
        normalize=node.CLUSTER.NORMALIZE,
        target=node.CLUSTER.TARGET,
        up=node.MASK.UP,
        median=node.MASK.MEDIAN,
    )


def _mask_source(cfg: CfgNode) -> MaskSource:
    node = cfg.MODEL.CLIPTRASE
    if node.MASK_SOURCE == "dino":
        return load_dino(node.DINO.MODEL, node.DINO.WEIGHTS, cfg.MODEL.DEVICE)
    if node.MASK_SOURCE.startswith(PREFIX):
        return FileSource(node.MASK_SOURCE.removeprefix(PREFIX))
    return TowerSource() if node.MASK_SOURCE == "scr" else GivenSource()


def _sam(cfg: CfgNode) -> SamMasks | None:
    node = cfg.MODEL.CLIPTRASE.SAM
    if not node.ENABLED:
        return None
    predictor = load_predictor(node.BACKEND, node.MODEL, node.WEIGHTS, cfg.MODEL.DEVICE)
    return SamMasks(predictor, node.MAX_POINTS)
