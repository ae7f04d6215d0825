"""One label per mask: majority of labels, or mean of logits (paper section 4.2).

Letters: C classes, K masks, H x W picture, h x w patch grid.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ovs_core.modeling.scores import Scores, size_of

VOTES = ("majority", "mean_logits", "none")


def majority_vote(label_map: Tensor, masks: Tensor, *, num_classes: int, num_masks: int) -> Tensor:
    """Give every mask its most frequent label; the smallest label wins a tie.

    Args:
        label_map: (H, W) labels 0..C-1.
        masks: (H, W) mask number of each pixel, 0..K-1.
        num_classes: C.
        num_masks: K.

    Returns:
        (H, W) int64.
    """
    pairs = masks.flatten() * num_classes + label_map.flatten()
    counts = torch.bincount(pairs, minlength=num_masks * num_classes).view(num_masks, num_classes)
    most = counts.amax(dim=1, keepdim=True)
    classes = torch.arange(num_classes, device=counts.device)
    # argmax promises no order among equal counts on every device, so the rule is spelt out.
    winner = torch.where(counts == most, classes, num_classes).amin(dim=1)
    return winner[masks]


class RegionScores(Scores):
    """Scores that are constant on each mask.

    Args:
        values: (K, C) scores per mask.
        masks: (H, W) mask number of each pixel.
    """

    def __init__(self, values: Tensor, masks: Tensor) -> None:
        self.values, self.masks = values, masks
        self.num_classes, self.size = values.shape[1], size_of(masks)

    def classes(self, which: slice) -> Tensor:
        """Spread a range of classes over the picture."""
        return self.values[:, which].T[:, self.masks]

    def labels(self) -> Tensor:
        """Best class per mask, spread over the picture."""
        return self.values.argmax(dim=1)[self.masks]


def mean_logits(
    grid_logits: Tensor, masks: Tensor, *, num_masks: int, rows: Tensor, columns: Tensor
) -> Tensor:
    """Average upsampled logits over masks without upsampling them.

    Upsampling is linear, so the mean over a mask is an inner product of the grid logits with the
    adjoint of the upsampling applied to the mask.

    Args:
        grid_logits: (C, h, w).
        masks: (H, W) mask number of each pixel, 0..K-1.
        num_masks: K.
        rows: (H, h) upsampling matrix of the rows.
        columns: (W, w) upsampling matrix of the columns.

    Returns:
        (K, C); a mask without pixels gives zeros.
    """
    # One mask at a time: K x H x W indicators of a large picture would take hundreds of megabytes.
    weights, areas = [], []
    for number in range(num_masks):
        inside = (masks == number).to(rows.dtype)
        weights.append(rows.T @ inside @ columns)  # (h, w)
        areas.append(inside.sum())
    area = torch.stack(areas).clamp_min(1)
    return (torch.stack(weights).flatten(1) @ grid_logits.flatten(1).T) / area.unsqueeze(1)
