"""From ``MODEL.CLIPTRASE`` to the parts of the model."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode

from ovs_core.clip import PositionRule
from ovs_core.errors import UserError, nearest
from ovs_core.modeling.build import segmenter_arguments

from .regions import RegionRule
from .tower import TowerRule
from .views import View

# The last block of each method; CLIPtrase's own is a key.
ATTENTION = {"clip": "vanilla", "sclip": "csa", "maskclip": "identity"}
METHODS = ("cliptrase", *ATTENTION)
CLS_PRODUCT = ("auto", "on", "off")


def method_arguments(cfg: CfgNode) -> dict[str, Any]:
    """Give the constructor arguments of ``CLIPtrase``.

    Raises:
        UserError: for an unknown value.
    """
    node = cfg.MODEL.CLIPTRASE
    _check("METHOD", node.METHOD, METHODS)
    own = node.METHOD == "cliptrase"
    return {
        **segmenter_arguments(cfg),
        "tower": tower_rule(node),
        "view": View(
            node.PROTOCOL,
            node.IMAGE_SIZE,
            node.D2.SIZE_DIVISIBILITY,
            node.D2.CLIP_RESOLUTION,
            not node.D2.PADDING_BUG,
        ),
        "regions": region_rule(node) if own and node.CLUSTER.ENABLED else None,
        "vote": node.VOTE,
        "normalize_features": node.NORMALIZE_FEATURES,
        "cls_product": own and uses_cls_product(cfg),
        "logit_scale": node.LOGIT_SCALE or None,
    }


def tower_rule(node: CfgNode) -> TowerRule:
    """Read how the tower is run."""
    own = node.METHOD == "cliptrase"
    attention = ATTENTION.get(node.METHOD, node.SCR.ATTENTION if node.SCR.ENABLED else "vanilla")
    return TowerRule(
        attention=attention,
        layer=node.SCR.LAYER if own else -1,
        corr_layer=node.CORR.LAYER if own and node.CLUSTER.ENABLED else None,
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


def uses_cls_product(cfg: CfgNode) -> bool:
    """Whether class maps are multiplied by CLS logits; ``auto`` decides by the test set's name.

    Raises:
        UserError: if ``auto`` would decide differently for two test sets of one run.
    """
    node = cfg.MODEL.CLIPTRASE
    _check("CLS_PRODUCT", node.CLS_PRODUCT, CLS_PRODUCT)
    if node.CLS_PRODUCT != "auto":
        return node.CLS_PRODUCT == "on"
    names = [name.lower() for name in cfg.DATASETS.TEST]
    if node.PROTOCOL == "d2":
        decisions = {"voc" in name for name in names}
    else:
        decisions = {"voc20" in name.replace("_", "").replace("voc20b", "") for name in names}
    if len(decisions) > 1:
        raise UserError(
            "MODEL.CLIPTRASE.CLS_PRODUCT auto means another thing for each of DATASETS.TEST "
            f"{tuple(cfg.DATASETS.TEST)}; evaluate them in runs of their own, or say on or off"
        )
    return decisions == {True}


def _check(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(
            f"MODEL.CLIPTRASE.{key}: '{value}' is unknown.{nearest(value, known)} "
            f"Known: {', '.join(known)}"
        )
