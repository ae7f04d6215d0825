"""MaskCLIP (Zhou et al., ECCV 2022): every token attends to itself alone."""

from __future__ import annotations

from detectron2.config import CfgNode

from ovs_core.errors import check_choice
from ovs_core.methods.ranges import between
from ovs_core.modeling.pixel_statistics import PixelStatistics
from ovs_core.modeling.segmenter import SegmenterArguments

from ..maskclip import MaskClipTower, use_released_numerics
from ..scoring import MaskClipScorer
from .registry import KEY, Parts, register_method

MODES = ("faithful", "released")


@register_method(
    keys={
        "MODE": "faithful",  # faithful: CLIP's own numerics [*]; released: GELU, eps 1e-6
        "PD_THRESH": 0.0,  # prompt denoising; 0 for off, as in the released ViT configs
        "KS_THRESH": 0.0,  # key smoothing; 0 for off
    },
    ranges={"PD_THRESH": between(0, 1), "KS_THRESH": between(0, 1)},
)
def maskclip(cfg: CfgNode, shared: SegmenterArguments) -> Parts:
    """Values alone, refined by prompt denoising and key smoothing."""
    node, visual = cfg.MODEL.CLIPTRASE.MASKCLIP, shared["clip"].visual
    check_choice(f"{KEY}.MASKCLIP.MODE", node.MODE, MODES)
    released = node.MODE == "released"
    if released:
        use_released_numerics(visual)
    return {
        "tower": MaskClipTower(visual, keys=node.KS_THRESH > 0),
        "scorer": MaskClipScorer(node.PD_THRESH, node.KS_THRESH, unit_keys=not released),
        # The released code shows OpenAI's weights pictures in ImageNet's statistics.
        "statistics": PixelStatistics() if released else None,
    }
