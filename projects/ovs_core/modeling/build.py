"""From a config to the parts that every segmenter is made of."""

from __future__ import annotations

from collections.abc import Sequence

from detectron2.config import CfgNode

from ..clip import CLIP, load_clip
from ..errors import UserError, check_choice
from ..words.class_lists import load_templates
from .protocols import InferenceProtocol, MultiScaleFlip, Slide, Whole
from .segmenter import SegmenterArguments

PROTOCOLS = ("whole", "slide")


def build_clip(cfg: CfgNode, device: str = "") -> CLIP:
    """Load the CLIP of ``MODEL.CLIP`` onto ``device``, or ``MODEL.DEVICE``."""
    node = cfg.MODEL.CLIP
    return load_clip(
        node.ARCHITECTURE,
        node.PRETRAINED,
        cache_dir=node.CACHE_DIR or None,
        device=device or cfg.MODEL.DEVICE,
    )


def build_templates(cfg: CfgNode) -> list[str]:
    """Read ``MODEL.OVS.TEMPLATES``: names of published lists, or templates themselves.

    Raises:
        UserError: for an unknown list, or if there is no template.
    """
    templates: list[str] = []
    for stated in cfg.MODEL.OVS.TEMPLATES:
        templates += [stated] if "{}" in stated else load_templates(stated)
    if not templates:
        raise UserError("MODEL.OVS.TEMPLATES: name a list such as imagenet_80, or give templates")
    return templates


def build_protocol(cfg: CfgNode) -> InferenceProtocol:
    """Build the inference protocol of ``MODEL.OVS.PROTOCOL``.

    Raises:
        UserError: for an unknown name.
    """
    node = cfg.MODEL.OVS.PROTOCOL
    check_choice("MODEL.OVS.PROTOCOL.NAME", node.NAME, PROTOCOLS)
    if node.NAME == "whole":
        base: Whole | Slide = Whole(_size(node.SIZE), node.DIVISOR, node.CUT_PADDING)
    else:
        base = Slide(
            node.WINDOW,
            node.STRIDE,
            _size(node.SIZE),
            node.WITH_WHOLE,
            node.BATCH,
            node.PAD_SMALL,
            node.PAD_MULTIPLE,
        )
    if tuple(node.SCALES) == (1.0,) and not node.FLIP:
        return base
    return MultiScaleFlip(base, tuple(node.SCALES), node.FLIP)


def segmenter_arguments(cfg: CfgNode) -> SegmenterArguments:
    """Give the constructor arguments that every ``Segmenter`` shares."""
    return {
        "clip": build_clip(cfg),
        "templates": build_templates(cfg),
        "protocol": build_protocol(cfg),
        "output": cfg.MODEL.OVS.OUTPUT,
    }


def _size(stated: Sequence[int]) -> tuple[int, int] | None:
    if not stated:
        return None
    if len(stated) != 2 or min(stated) < 1:
        raise UserError(
            f"MODEL.OVS.PROTOCOL.SIZE: expected [] or [height, width], but got {list(stated)}"
        )
    return int(stated[0]), int(stated[1])
