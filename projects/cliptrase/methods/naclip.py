"""NACLIP (Hajimiri et al., WACV 2025): keys attend to keys, and to their neighbourhood."""

from __future__ import annotations

from detectron2.config import CfgNode

from ovs_core.errors import check_choice
from ovs_core.methods.ranges import above
from ovs_core.modeling.segmenter import SegmenterArguments

from ..neighbours import STRATEGIES, Neighbours
from .registry import KEY, Parts, register_method
from .shared import cosine_scorer, last_block


@register_method(
    keys={
        "ATTENTION": "naclip",  # nonly: the Gaussian alone; kk: keys alone; csa, vanilla
        "STD": 5.0,  # of the Gaussian, in patches
        "RESIDUAL": False,  # True keeps residual and MLP ("vanilla" architecture)
    },
    ranges={"STD": above(0)},
)
def naclip(cfg: CfgNode, shared: SegmenterArguments) -> Parts:
    """A Gaussian of the distance is added to the scores; residual and MLP are left out."""
    node, clip = cfg.MODEL.CLIPTRASE.NACLIP, shared["clip"]
    check_choice(f"{KEY}.NACLIP.ATTENTION", node.ATTENTION, STRATEGIES)
    near = Neighbours(node.ATTENTION, node.STD) if node.ATTENTION in ("naclip", "nonly") else None
    return {
        "tower": last_block(cfg, clip, near or node.ATTENTION, whole=node.RESIDUAL),
        "scorer": cosine_scorer(cfg, clip),
    }
