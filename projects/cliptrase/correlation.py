"""Semantic correlation between tokens and its denoising (paper sections 4.1 and 4.3).

Letters: B pictures, H heads, L = 1 + N tokens (CLS first), N patches, d head width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ovs_core.errors import check_choice

KEY = "MODEL.CLIPTRASE"
KINDS = ("cosine", "inner")
HEADS = ("per_head", "concat")
DENOISE = ("cls_subtract", "eq7", "none")


def correlation(
    q: Tensor, k: Tensor, v: Tensor, *, kind: str = "cosine", heads: str = "per_head"
) -> Tensor:
    """Correlate every token with every other one, mean over q, k, v and heads (equation 3).

    The mean of the 3 H cosine matrices is one product: each head's vector is brought to unit
    length, all of a token's vectors are laid side by side, and W = Z Z^T / (3 H).

    Args:
        q: (B, H, L, d) queries.
        k: (B, H, L, d) keys.
        v: (B, H, L, d) values.
        kind: ``cosine``, or ``inner`` for inner products over sqrt(d) (Table 2, "Multi"; the paper
            gives no scale for these, so this one is ours).
        heads: ``per_head`` (equations 9-11), or ``concat`` to join the heads first (12-14).

    Returns:
        (B, L, L) symmetric; with ``cosine`` its diagonal is 1 and its values lie in [-1, 1].

    Raises:
        UserError: for an unknown ``kind`` or ``heads``.
    """
    check_choice(f"{KEY}.CORR.KIND", kind, KINDS)
    check_choice(f"{KEY}.CORR.HEADS", heads, HEADS)
    z = torch.stack([q, k, v], dim=1).permute(0, 3, 1, 2, 4)  # (B, L, 3, H, d)
    if kind == "inner":
        # Joining the heads does not change a sum of inner products.
        scale = 1 / (3 * q.shape[1] * q.shape[3] ** 0.5)
        z = z.flatten(2)
        return (z * scale) @ z.transpose(1, 2)
    if heads == "concat":
        z = z.flatten(3)
    z = F.normalize(z, dim=-1)
    parts = z[0, 0].numel() // z.shape[-1]
    z = z.flatten(2)
    return (z / parts) @ z.transpose(1, 2)


def feature_correlation(tokens: Tensor) -> Tensor:
    """Cosine matrix of tokens, (B, L, C) -> (B, L, L), for masks from another network (Table 5)."""
    units = F.normalize(tokens, dim=-1)
    return units @ units.transpose(-2, -1)


def denoise(matrix: Tensor, how: str = "cls_subtract") -> Tensor:
    """Take the patch block of a correlation matrix and remove what belongs to global patches.

    Args:
        matrix: (L, L), CLS first.
        how: ``cls_subtract`` subtracts the CLS row from every row and clamps at 0 (released code);
            ``none`` and ``eq7`` give the block as it is (equation 7 removes patches, see
            ``eq7_score``).

    Returns:
        (N, N) matrix D whose rows are clustered; not symmetric under ``cls_subtract``.

    Raises:
        UserError: for an unknown ``how``.
    """
    check_choice(f"{KEY}.DENOISE", how, DENOISE)
    patches = matrix[1:, 1:]
    if how != "cls_subtract":
        return patches
    return (patches - matrix[:1, 1:]).clamp_min_(0)


def eq7_score(patches: Tensor) -> Tensor:
    """Score of equation 7, mean of a row minus its diagonal entry; patches above 0 are removed.

    With cosine correlation the diagonal is 1 and the score is never positive: the printed rule acts
    only on inner products.

    Args:
        patches: (N, N) patch block of a correlation matrix.

    Returns:
        (N,).
    """
    return patches.mean(dim=1) - patches.diagonal()
