"""What a mask-based method is trained towards: one class and one mask per segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.structures import BitMasks
from torch import Tensor
from torch.nn import functional as F

from ...errors import UserError


@dataclass(frozen=True)
class MaskTargets:
    """Segments of one picture; there may be none.

    Attributes:
        labels: (n,) int64 classes.
        masks: (n, H, W) bool.
    """

    labels: Tensor
    masks: Tensor


def read_targets(
    batched_inputs: Sequence[dict[str, Any]],
    *,
    classes: int,
    size: tuple[int, int],
    device: torch.device,
) -> list[MaskTargets]:
    """Read the segments of a batch and pad their masks to the batch's size.

    Args:
        batched_inputs: per picture ``instances`` with ``gt_classes`` and ``gt_masks`` (n, h, w)
            from a mapper of this suite.
        classes: K of the training vocabulary.
        size: padded (H, W).
        device: where the targets go.

    Raises:
        UserError: if a picture has no ``instances``, or a class lies outside the vocabulary.
    """
    targets = []
    for one in batched_inputs:
        name = one.get("file_name", "a picture")
        if "instances" not in one:
            raise UserError(
                f"{name}: the training picture carries no segments; a mask-based method needs a "
                "mapper that makes them (INPUT.MAPPER MaskSemanticMapper or MaskPanopticMapper)"
            )
        labels = one["instances"].gt_classes
        masks = one["instances"].gt_masks
        masks = masks.tensor if isinstance(masks, BitMasks) else masks
        wrong = labels[(labels < 0) | (labels >= classes)]  # before a GPU would be waited for
        if len(wrong):
            raise UserError(
                f"{name}: class {int(wrong[0])} is outside the training vocabulary of {classes} "
                "classes; the dataset and the class list in the config do not belong together"
            )
        labels = labels.to(device, non_blocking=True)
        masks = masks.to(device, non_blocking=True).bool()
        height, width = masks.shape[-2:]
        targets.append(MaskTargets(labels, F.pad(masks, (0, size[1] - width, 0, size[0] - height))))
    return targets
