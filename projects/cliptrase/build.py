"""From ``MODEL.CLIPTRASE`` to the parts of the model."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode

from ovs_core.errors import UserError, check_choice
from ovs_core.modeling.build import segmenter_arguments
from ovs_core.words.class_lists import load_templates

from .last_steps import own_last_steps
from .mask_files import PREFIX
from .methods import find_method
from .views import PROTOCOLS, View

KEY = "MODEL.CLIPTRASE"
MASK_SOURCES = ("scr", "dino", "external")


def cliptrase_arguments(cfg: CfgNode) -> dict[str, Any]:
    """Give the constructor arguments of ``CLIPtrase``.

    Raises:
        UserError: for an unknown value, or keys that contradict each other.
    """
    node = cfg.MODEL.CLIPTRASE
    build_parts = find_method(node.METHOD)
    check_choice(f"{KEY}.PROTOCOL", node.PROTOCOL, (*PROTOCOLS, "ovs"))
    if not node.MASK_SOURCE.startswith(PREFIX):
        check_choice(f"{KEY}.MASK_SOURCE", node.MASK_SOURCE, (*MASK_SOURCES, f"{PREFIX}FOLDER"))
    _check_combination(node)
    shared = segmenter_arguments(cfg)
    if node.SCENE_TEMPLATES:
        shared["templates"] = [*shared["templates"], *load_templates("scene_5")]
    return {
        **shared,
        **build_parts(cfg, shared),
        "view": build_view(node),
        "vote": node.VOTE,
        "last_steps": own_last_steps(node),
    }


def build_view(node: CfgNode) -> View | None:
    """Read how a picture is brought to the tower; None leaves it to ``MODEL.OVS.PROTOCOL``."""
    if node.PROTOCOL == "ovs":
        return None
    return View(
        node.PROTOCOL,
        node.IMAGE_SIZE,
        node.D2.SIZE_DIVISIBILITY,
        node.D2.CLIP_RESOLUTION,
        not node.D2.PADDING_BUG,
    )


def _check_combination(node: CfgNode) -> None:
    """Refuse keys that would have no effect where a person expects one."""
    regions = node.METHOD == "cliptrase" and node.CLUSTER.ENABLED
    if node.PROTOCOL == "ovs" and regions:
        raise UserError(
            f"{KEY}.PROTOCOL ovs (windows, scales, flips) labels pixels one by one; for "
            "regions use standalone, fullres or d2, or set CLUSTER.ENABLED False"
        )
    if node.METHOD == "sclip" and node.SCLIP.OWN_PROTOCOL and node.PROTOCOL != "ovs":
        raise UserError(f"{KEY}.SCLIP.OWN_PROTOCOL needs PROTOCOL ovs, whose windows it averages")
    if node.LAST_STEPS.ENABLED and node.PROTOCOL != "ovs":
        raise UserError(f"{KEY}.LAST_STEPS needs PROTOCOL ovs, whose windows they average")
    if node.MASK_SOURCE.startswith(PREFIX) and not regions:
        raise UserError(
            f"{KEY}.MASK_SOURCE {node.MASK_SOURCE} gives regions; it needs METHOD cliptrase and "
            "CLUSTER.ENABLED True"
        )
    if node.SAM.ENABLED and not regions:
        raise UserError(
            f"{KEY}.SAM takes its points from clusters; it needs METHOD cliptrase and "
            "CLUSTER.ENABLED True"
        )
