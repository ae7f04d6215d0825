"""Representation Compensation (MAFT+): the fine-tuned trunk stays near the original one.

Letters: B pictures, C channels, H x W feature map.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ovs_core.errors import UserError

SCALES = (1, 2, 4)


def representation_compensation(student: Tensor, teacher: Tensor) -> Tensor:
    """Distance of two trunks in pooled strips at three scales.

    Args:
        student: (B, C, H, W) features of the trained trunk.
        teacher: (B, C, H, W) features of the original trunk.

    Returns:
        Scalar loss, not weighted.

    Raises:
        UserError: if the map is narrower than 4 cells, that is, the padded pictures than 128
            pixels.
    """
    return F.smooth_l1_loss(_descriptor(student), _descriptor(teacher))


def _descriptor(features: Tensor) -> Tensor:
    """(B, 14 C) for square maps whose side is a multiple of 4."""
    height, width = features.shape[-2:]
    if width < max(SCALES):
        raise UserError(
            f"representation compensation needs training pictures of {32 * max(SCALES)} pixels "
            f"width or more after padding, but the feature map is {width} cells wide; enlarge "
            "INPUT.MIN_SIZE_TRAIN or INPUT.IMAGE_SIZE"
        )
    x = features.relu()
    if height != width:
        side = max(height, width)
        x = F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)
    strips = []
    for scale in SCALES:
        # The kernel comes from the width before the resize, also for tall maps, as published.
        pooled = F.avg_pool2d(x, width // scale)
        strips += [pooled.sum(dim=2).flatten(1), pooled.sum(dim=3).flatten(1)]
    return torch.cat(strips, dim=1)
