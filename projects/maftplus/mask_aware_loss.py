"""Mask-aware loss (MAFT, MAFT+): the score of a class should follow how well the mask fits it.

Letters: B pictures, Q masks, K classes, n targets of a picture.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ovs_core.modeling.mask2former import MaskTargets
from ovs_core.modeling.mask2former.transformer_decoder import resize_features
from ovs_core.modeling.scores import size_of


def mask_aware_loss(
    logits: Tensor, masks: Tensor, targets: list[MaskTargets], segments: float | None = None
) -> Tensor:
    """SmoothL1 distance of class probability and rescaled IoU, mean over (target, mask) pairs.

    Args:
        logits: (B, Q, K + 1) scores of the pooled CLIP features, void last.
        masks: (B, Q, h, w) mask logits; no gradient reaches them.
        targets: segments of the B pictures.
        segments: what the mean is taken over, in a part of a step; None for those of the pictures.

    Returns:
        Scalar; zero, with a graph, for a batch without segments.
    """
    probabilities = logits[..., :-1].float().softmax(-1)
    scores, wanted = [], []
    for probability, mask, target in zip(probabilities, masks, targets, strict=True):
        if len(target.labels):
            scores.append(probability[:, target.labels].t())
            wanted.append(rescale(mask_ious(mask, target.masks)))
    if not scores:
        return logits.sum() * 0.0
    own = sum(len(target.labels) for target in targets)
    total = F.smooth_l1_loss(torch.cat(scores), torch.cat(wanted), reduction="sum")
    return total / (masks.shape[1] * (own if segments is None else segments))


@torch.no_grad()
def mask_ious(masks: Tensor, targets: Tensor) -> Tensor:
    """IoU of soft masks with targets; each mask is resized once, all pairs are one matrix product.

    Args:
        masks: (Q, h, w) logits; the probabilities are resized to the targets' size.
        targets: (n, H, W) bool.

    Returns:
        (n, Q).
    """
    soft = masks.float().sigmoid()
    if soft.shape[-2:] != targets.shape[-2:]:
        soft = resize_features(soft[None], size_of(targets))[0]
    soft, truth = soft.flatten(1), targets.flatten(1).float()
    both = truth @ soft.t()
    return both / (truth.sum(-1)[:, None] + soft.sum(-1)[None, :] - both + 1e-7)


def rescale(ious: Tensor) -> Tensor:
    """Stretch each target's (n, Q) IoUs to 0..1."""
    low, high = ious.aminmax(dim=-1, keepdim=True)
    return (ious - low) / (high - low + 1e-8)
