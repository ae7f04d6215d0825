"""The contrast of pictures and captions, over all pairs of a step wherever they are computed.

Letters: N pairs of a step, n pairs of a part, D joint width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def contrastive_loss(pictures: Tensor, captions: Tensor, scale: Tensor) -> Tensor:
    """Cross entropy of each picture among the captions and of each caption among the pictures.

    Args:
        pictures: (N, D) unit features.
        captions: (N, D) unit features, each of the picture in its row.
        scale: factor on the cosine.

    Returns:
        Scalar: the mean of both, in float32 also under autocast.
    """
    with torch.autocast(pictures.device.type, enabled=False):
        logits = scale.float() * pictures.float() @ captions.float().T
        own = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def put_among(own: Tensor, every: Sequence[Tensor], start: int) -> Tensor:
    """Put features of a part, which have gradients, among those of the whole step.

    Args:
        own: (n, D).
        every: N of (D,), as each part gave them before.
        start: place of the part's first picture.

    Returns:
        (N, D).
    """
    others = torch.stack(list(every)).to(own.device, own.dtype, non_blocking=True)
    return torch.cat([others[:start], own, others[start + len(own) :]])


def with_gradient_times(value: Tensor, factor: float) -> Tensor:
    """Give a value whose gradient is ``factor`` times what it was."""
    fixed = value.detach()
    return fixed + factor * (value - fixed)
