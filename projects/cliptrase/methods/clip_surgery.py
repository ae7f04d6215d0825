"""CLIP-Surgery (Li et al., 2023): a second path through the last blocks, and feature surgery."""

from __future__ import annotations

from detectron2.config import CfgNode

from ovs_core.clip import TextEmbedder, TextEncoder
from ovs_core.methods.ranges import at_least
from ovs_core.modeling.segmenter import SegmenterArguments

from ..surgery import SurgeryScorer, SurgeryTower
from .registry import Parts, register_method


@register_method(
    group="SURGERY",
    keys={"DEPTH": 6},  # last blocks with two paths
    ranges={"DEPTH": at_least(0)},
)
def clip_surgery(cfg: CfgNode, shared: SegmenterArguments) -> Parts:
    """Values attend to values beside the ordinary path; what all words share is removed."""
    clip = shared["clip"]
    embedder = TextEmbedder(TextEncoder(clip))
    return {
        "tower": SurgeryTower(clip.visual, depth=cfg.MODEL.CLIPTRASE.SURGERY.DEPTH),
        "scorer": SurgeryScorer(lambda: embedder.texts([""], shared["templates"])),
    }
