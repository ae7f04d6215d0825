"""ResCLIP (Yang et al., CVPR 2025): attention of earlier blocks, and feedback of a first pass."""

from __future__ import annotations

from detectron2.config import CfgNode

from ovs_core.errors import check_choice
from ovs_core.methods.ranges import above, any_number, between, list_of
from ovs_core.modeling.segmenter import SegmenterArguments

from ..feedback import FeedbackRule
from ..residual import BASES, FeedbackScorer, ResidualRule, ResidualTower
from .registry import KEY, Parts, register_method
from .shared import cosine_scorer, position_rule


@register_method(
    keys={
        "BASE": "resclip",  # whose last block: resclip = naclip, clearclip, sclip, vanilla
        "STD": 5.0,  # of the neighbourhood and of the smoothed feedback, in patches
        "RESIDUAL": False,  # True keeps residual and MLP, as released with BASE sclip
        "RCS": True,  # mix the ordinary attention of LAYERS in
        "LAYERS": [5, 6, 7, 8],  # whatever the depth; the first block is 0
        "RCS_WEIGHTS": [2.0, 0.3],  # factor on the sum, share of LAYERS in it; ADE-150's, as all
        "SFR": True,  # feedback of a first pass
        "SFR_WEIGHTS": [2.1, 0.7],  # factor on the scores, share of the feedback in them
        "TEMP_THD": 0.25,  # pixels of the first pass less likely than this count as word 0
        "DECAY": True,  # patches with another label between them agree less
    },
    ranges={
        "STD": above(0),
        "LAYERS": list_of(any_number(), least=1),
        "RCS_WEIGHTS": list_of(any_number(), least=2, most=2),
        "SFR_WEIGHTS": list_of(any_number(), least=2, most=2),
        "TEMP_THD": between(0, 1),
    },
)
def resclip(cfg: CfgNode, shared: SegmenterArguments) -> Parts:
    """The first pass is scaled by ``LAST_STEPS.SCALE`` and refined along colours."""
    node, clip = cfg.MODEL.CLIPTRASE.RESCLIP, shared["clip"]
    check_choice(f"{KEY}.RESCLIP.BASE", node.BASE, list(BASES))
    rule = ResidualRule(
        node.BASE,
        node.STD,
        node.RESIDUAL,
        tuple(node.LAYERS) if node.RCS else (),
        tuple(node.RCS_WEIGHTS),
        tuple(node.SFR_WEIGHTS),
    )
    tower = ResidualTower(clip.visual, rule, position_rule(cfg))
    cosines = cosine_scorer(cfg, clip)
    scale = cfg.MODEL.CLIPTRASE.LAST_STEPS.SCALE
    feedback = FeedbackRule(scale, node.TEMP_THD, node.DECAY, node.STD)
    return {
        "tower": tower,
        "scorer": FeedbackScorer(tower, cosines, feedback) if node.SFR else cosines,
    }
