"""The two readings of the training loss. Letters: B pictures, K classes, H x W labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ovs_core.modeling.chunked_sum import chunked_sum
from ovs_core.words.label_space import IGNORE

STEP = 8  # maps at a time: what a cache holds


def binary_cross_entropy(logits: Tensor, targets: Tensor, count: float | None = None) -> Tensor:
    """Binary cross entropy of every class at every pixel, mean over all B * K * H * W.

    Ignored pixels count as negatives of every class, as in released CAT-Seg. With one positive
    class per pixel, ``BCE(x, y) = softplus(x) - x y`` needs no one-hot targets.

    Args:
        logits: (B, K, h, w), resized to the targets' size a few maps at a time.
        targets: (B, H, W) classes, or ``IGNORE``.
        count: not needed.

    Returns:
        Scalar.
    """
    classes = logits.shape[1]

    def terms(maps: Tensor, numbers: Tensor) -> list[Tensor]:
        maps = _resized(maps[:, None], targets)[:, 0]
        own = targets[numbers // classes] == (numbers % classes)[:, None, None]
        return [F.softplus(maps).sum() - (maps * own).sum()]

    numbers = torch.arange(len(logits) * classes, device=logits.device)
    total = chunked_sum(logits.flatten(0, 1), numbers, terms, STEP)[0]
    return total / (classes * targets.numel())


def cross_entropy(logits: Tensor, targets: Tensor, count: float | None = None) -> Tensor:
    """Cross entropy over classes, mean over labelled pixels.

    Args:
        logits: (B, K, h, w), resized to the targets' size.
        targets: (B, H, W) classes, or ``IGNORE``.
        count: labelled pixels to divide by in a part of a step; None for those of ``targets``.

    Returns:
        Scalar; 0 if no pixel is labelled.
    """
    logits = _resized(logits, targets)
    loss = F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="sum")
    return loss / ((targets != IGNORE).sum().clamp(min=1) if count is None else count)


def _resized(logits: Tensor, targets: Tensor) -> Tensor:
    return F.interpolate(logits, size=targets.shape[-2:], mode="bilinear")


LOSSES = {"bce": binary_cross_entropy, "ce": cross_entropy}
