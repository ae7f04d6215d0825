"""Student features against words, and the bonus of unseen classes (section 3.4).

Letters: K classes, C channels, C' channels in front of the student's projection, h x w student
grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def fold(text: Tensor, projection: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Make one convolution of the student's last one and the words: both are linear (eq. 9).

    Args:
        text: (K, C) text features.
        projection: 1 x 1 convolution from C' to C channels, or ``nn.Identity``.

    Returns:
        (K, C') weights, and (K,) bias or None.
    """
    if isinstance(projection, nn.Identity):
        return text, None
    weight, bias = projection.weight.flatten(1), projection.bias
    return text @ weight, None if bias is None else text @ bias


def class_logits(features: Tensor, text: Tensor, projection: nn.Module | None = None) -> Tensor:
    """Compare features with words; C channels are not made on the way (eq. 9).

    Args:
        features: (B, C', h, w) what ``projection`` gets; (B, C, h, w) without one.
        text: (K, C) text features.
        projection: the student's last convolution.

    Returns:
        (B, K, h, w).
    """
    weight, bias = fold(text, projection or nn.Identity())
    weight = weight.to(features.dtype)[:, :, None, None]
    return F.conv2d(features, weight, None if bias is None else bias.to(features.dtype))


def add_unseen_bonus(maps: Tensor, which: slice, unseen: Sequence[int], gamma: float) -> Tensor:
    """Raise the logits of unseen classes, which training never raised.

    Args:
        maps: (..., k, h, w) logits of the classes ``which``.
        which: range of classes.
        unseen: indices of the unseen classes among all.
        gamma: bonus.

    Returns:
        Maps of the same shape.
    """
    if not gamma or not len(unseen):
        return maps
    bonus = torch.zeros(which.stop, dtype=maps.dtype, device=maps.device)
    bonus[[index for index in unseen if index < which.stop]] = gamma
    return maps + bonus[which.start :, None, None]
