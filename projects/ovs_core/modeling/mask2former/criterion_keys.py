"""Config keys of the set criterion, the same in every node that has them."""

from __future__ import annotations

from detectron2.config import CfgNode

from ...methods.ranges import at_least, between

CRITERION_RANGES = {
    "CLASS_WEIGHT": at_least(0),
    "MASK_WEIGHT": at_least(0),
    "DICE_WEIGHT": at_least(0),
    "NO_OBJECT_WEIGHT": at_least(0),
    "TRAIN_NUM_POINTS": at_least(1),
    "OVERSAMPLE_RATIO": at_least(1),
    "IMPORTANCE_SAMPLE_RATIO": between(0, 1),
}


def add_criterion_keys(node: CfgNode) -> None:
    """Add the published values to a node, in place."""
    node.CLASS_WEIGHT = 2.0
    node.MASK_WEIGHT = 5.0
    node.DICE_WEIGHT = 5.0
    node.NO_OBJECT_WEIGHT = 0.1  # weight of unmatched queries in the class loss
    node.TRAIN_NUM_POINTS = 12544
    node.OVERSAMPLE_RATIO = 3.0
    node.IMPORTANCE_SAMPLE_RATIO = 0.75
