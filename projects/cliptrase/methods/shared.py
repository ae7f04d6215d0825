"""What several methods build in the same way."""

from __future__ import annotations

from dataclasses import replace

from detectron2.config import CfgNode

from ovs_core.clip import CLIP, PositionRule

from ..attention import AttentionRule
from ..last_steps import own_last_steps
from ..scoring import CosineScorer
from ..tower import RecoveryTower, TowerRule


def position_rule(cfg: CfgNode) -> PositionRule:
    """The position table as SCLIP, CLIPtrase and those after them fit it."""
    same_count = cfg.MODEL.CLIPTRASE.POSITION_SAME_COUNT
    return PositionRule(offset=0.1, keep_same_count=same_count)


def last_block(
    cfg: CfgNode, clip: CLIP, attention: str | AttentionRule, *, whole: bool = True
) -> RecoveryTower:
    """CLIP's tower whose last block attends in another way.

    Args:
        cfg: whole config.
        clip: whose tower it is.
        attention: a mode of ``attention.attend``, or a rule.
        whole: whether the block keeps its residual and its MLP.
    """
    rule = TowerRule(
        attention, residual=whole, mlp=whole, corr_layer=None, positions=position_rule(cfg)
    )
    return RecoveryTower(clip.visual, rule, accepts="any")


def cosine_scorer(cfg: CfgNode, clip: CLIP, *, cls_product: bool = False) -> CosineScorer:
    """Scaled cosines; unscaled where last steps scale what is left of them."""
    node = cfg.MODEL.CLIPTRASE
    scorer = CosineScorer(1.0, node.NORMALIZE_FEATURES, cls_product)
    if own_last_steps(node) is not None:
        return scorer
    return replace(scorer, scale=node.LOGIT_SCALE or clip.logit_scale)
