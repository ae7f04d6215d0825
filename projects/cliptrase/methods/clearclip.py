"""ClearCLIP (Lan et al., ECCV 2024): queries attend to queries; residual and MLP are left out."""

from __future__ import annotations

from detectron2.config import CfgNode

from ovs_core.errors import check_choice
from ovs_core.modeling.segmenter import SegmenterArguments

from .registry import KEY, Parts, register_method
from .shared import cosine_scorer, last_block

ATTENTIONS = ("qq", "csa", "vanilla", "identity")


@register_method(
    keys={
        "ATTENTION": "qq",  # the released code also knows csa (SCLIP), vanilla, identity (MaskCLIP)
        "RESIDUAL": False,  # True keeps residual and MLP; the code drops both or none
    }
)
def clearclip(cfg: CfgNode, shared: SegmenterArguments) -> Parts:
    """One softmax map of the queries; the block's output is what the projection makes of it."""
    node, clip = cfg.MODEL.CLIPTRASE.CLEARCLIP, shared["clip"]
    check_choice(f"{KEY}.CLEARCLIP.ATTENTION", node.ATTENTION, ATTENTIONS)
    return {
        "tower": last_block(cfg, clip, node.ATTENTION, whole=node.RESIDUAL),
        "scorer": cosine_scorer(cfg, clip),
    }
