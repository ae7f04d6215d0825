"""Pooling student features into a prediction of the CLS token (section 3.2, eq. 1-2, Table 4).

Letters: B pictures of this process, C channels, h x w student grid.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

POOLS = ("attention", "max", "mean")


def attention_weights(
    dense: Tensor, cls: Tensor, *, valid: Tensor | None = None, unit_query: bool = False
) -> Tensor:
    """Attention of the CLS token over the student's cells, without trained projections (eq. 1).

    Args:
        dense: (B, C, h, w) student features.
        cls: (B, C) CLS tokens.
        valid: (B, h, w) bool, False on padding, whose weight becomes 0; None for no padding.
        unit_query: make the CLS tokens unit length first.

    Returns:
        (B, h, w), each picture's weights sum to 1.
    """
    query = F.normalize(cls, dim=-1, eps=1e-12) if unit_query else cls
    logits = torch.einsum("bc,bchw->bhw", query, dense) / cls.shape[-1] ** 0.5
    if valid is not None:
        logits = logits.masked_fill(~valid, float("-inf"))
    return logits.flatten(1).softmax(dim=-1).view_as(logits)


def pool_dense(
    dense: Tensor,
    cls: Tensor,
    pool: str = "attention",
    *,
    valid: Tensor | None = None,
    unit_query: bool = False,
) -> Tensor:
    """Predict the CLS token from the student features (eq. 2, Table 4).

    Args:
        dense: (B, C, h, w) student features.
        cls: (B, C) CLS tokens, the attention's queries.
        pool: ``attention``, ``max`` (per channel) or ``mean``.
        valid: (B, h, w) bool, False on padding.
        unit_query: see ``attention_weights``.

    Returns:
        (B, C).
    """
    if pool == "max":
        hidden = dense if valid is None else dense.masked_fill(~valid[:, None], float("-inf"))
        return hidden.amax(dim=(-2, -1))
    if pool == "mean":
        if valid is None:
            return dense.mean(dim=(-2, -1))
        weights = valid / valid.sum(dim=(-2, -1), keepdim=True)
    else:
        weights = attention_weights(dense, cls, valid=valid, unit_query=unit_query)
    return torch.einsum("bhw,bchw->bc", weights, dense)
