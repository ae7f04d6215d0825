"""Student features against words, and the bonus of unseen classes (section 3.4).

Letters: K classes, C channels, h x w student grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def class_logits(dense: Tensor, text: Tensor) -> Tensor:
    """(B, C, h, w) student features and (K, C) text features -> (B, K, h, w) logits (eq. 9)."""
    return torch.einsum("kc,bchw->bkhw", text.to(dense.dtype), dense)


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
