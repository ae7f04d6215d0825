"""SCLIP (Wang et al., ECCV 2024): queries attend to queries and keys to keys."""

from __future__ import annotations

from detectron2.config import CfgNode

from ovs_core.methods.ranges import above, at_least, between, list_of
from ovs_core.modeling.segmenter import SegmenterArguments

from .registry import Parts, register_method
from .shared import cosine_scorer, last_block


@register_method(
    keys={
        "OWN_PROTOCOL": False,  # SCLIP's own last steps; with PROTOCOL ovs and sliding windows
        "SCALE": 40.0,  # 50 for Context-60 and COCO-Object, 65 for VOC-21
        "PROB_THD": 0.0,  # below this a pixel becomes class 0; 0.1 with background
        "AREA_THD": -1.0,  # share of foreground that a class must exceed; VOC-21 0.1; -1 for off
        "PAMR_STEPS": 0,  # refinement along colours; 0 for off
        "PAMR_DILATIONS": [8, 16],
    },
    ranges={
        "SCALE": above(0),
        "PROB_THD": between(0, 1),
        "AREA_THD": between(-1, 1),
        "PAMR_STEPS": at_least(0),
        "PAMR_DILATIONS": list_of(at_least(1), least=1),
    },
)
def sclip(cfg: CfgNode, shared: SegmenterArguments) -> Parts:
    """Two softmax maps added, so that rows sum to 2; residual and MLP are kept."""
    clip = shared["clip"]
    return {"tower": last_block(cfg, clip, "csa"), "scorer": cosine_scorer(cfg, clip)}
