"""Plain CLIP: the last block as it is."""

from __future__ import annotations

from detectron2.config import CfgNode

from ovs_core.modeling.segmenter import SegmenterArguments

from .registry import Parts, register_method
from .shared import cosine_scorer, last_block


@register_method()
def clip(cfg: CfgNode, shared: SegmenterArguments) -> Parts:
    """Every patch by its cosines with the words."""
    model = shared["clip"]
    return {"tower": last_block(cfg, model, "vanilla"), "scorer": cosine_scorer(cfg, model)}
