"""The two readings of the training loss. Letters: B pictures, K classes, H x W labels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ovs_core.words.label_space import IGNORE


def binary_cross_entropy(logits: Tensor, targets: Tensor, count: float | None = None) -> Tensor:
    """Binary cross entropy of every class at every pixel, mean over all B * K * H * W.

    Ignored pixels count as negatives of every class, as in released CAT-Seg. With one positive
    class per pixel, ``BCE(x, y) = softplus(x) - x y`` needs no one-hot targets.

    Args:
        logits: (B, K, H, W).
        targets: (B, H, W) classes, or ``IGNORE``.
        count: not needed.

    Returns:
        Scalar.
    """
    labelled = targets != IGNORE
    index = targets.where(labelled, 0)
    positive = logits.gather(1, index[:, None])[:, 0].where(labelled, 0.0)
    return (F.softplus(logits).sum() - positive.sum()) / logits.numel()


def cross_entropy(logits: Tensor, targets: Tensor, count: float | None = None) -> Tensor:
    """Cross entropy over classes, mean over labelled pixels.

    Args:
        logits: (B, K, H, W).
        targets: (B, H, W) classes, or ``IGNORE``.
        count: labelled pixels to divide by in a part of a step; None for those of ``targets``.

    Returns:
        Scalar; 0 if no pixel is labelled.
    """
    loss = F.cross_entropy(logits, targets, ignore_index=IGNORE, reduction="sum")
    return loss / ((targets != IGNORE).sum().clamp(min=1) if count is None else count)


LOSSES = {"bce": binary_cross_entropy, "ce": cross_entropy}
