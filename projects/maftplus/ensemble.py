"""Joining the two classifications of a mask (FC-CLIP). Letters: B, Q masks, K classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ovs_core.tensor.placing import place

EPSILON = 1e-8


def geometric_ensemble(
    in_logits: Tensor,
    out_logits: Tensor,
    seen: Sequence[bool] | Tensor,
    *,
    alpha: float,
    beta: float,
    valid: Tensor | None = None,
) -> Tensor:
    """Blend trained and CLIP's own class probabilities geometrically.

    ``log(p_in^(1-w) * p_out^w)`` with weight alpha on seen and beta on unseen classes.

    Args:
        in_logits: (B, Q, K) scores of the trained embedding, without void.
        out_logits: (B, Q, K) scores of the pooled CLIP features, without void.
        seen: for each of the K classes whether training had it.
        alpha: weight of CLIP on seen classes.
        beta: weight of CLIP on unseen classes.
        valid: (B, Q) masks whose CLIP scores may be used; None for all. Others may hold NaN.

    Returns:
        (B, Q, K) probabilities.
    """
    inside, outside = in_logits.log_softmax(-1), out_logits.log_softmax(-1)
    flags = place(seen, in_logits.device)
    weight = torch.where(flags, alpha, beta).to(inside.dtype)
    blend = torch.lerp(inside, outside, weight.expand_as(inside))
    if valid is not None:
        blend = torch.where(valid[..., None], blend, inside)
    return blend.softmax(-1)


def with_void(probabilities: Tensor, in_logits: Tensor) -> Tensor:
    """Make room for "nothing": the trained classifier says how likely it is.

    Args:
        probabilities: (B, Q, K) over the classes.
        in_logits: (B, Q, K + 1) scores of the trained embedding, void last.

    Returns:
        (B, Q, K + 1) log-probabilities.
    """
    void = in_logits.softmax(-1)[..., -1:]
    return (torch.cat([probabilities * (1 - void), void], dim=-1) + EPSILON).log()


def has_pixels(masks: Tensor) -> Tensor:
    """Tell for (B, Q, h, w) mask logits which masks are not empty: (B, Q) bool."""
    return (masks > 0).flatten(2).any(-1)


def class_probabilities(logits: Tensor) -> Tensor:
    """Softmax without the void column: (B, Q, K + 1) -> (B, Q, K)."""
    return F.softmax(logits[..., :-1], dim=-1)
