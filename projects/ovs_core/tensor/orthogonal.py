"""Orthogonal matrices from free ones, and block-diagonal maps that are never built densely.

Letters: q side of a block, b number of blocks, n = b * q.
"""

from __future__ import annotations

import torch
from torch import Tensor


def widened(x: Tensor) -> Tensor:
    """Half precision as float32, for operations that have no kernel or too few digits for it."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def skew_part(x: Tensor) -> Tensor:
    """(..., q, q) -> its skew-symmetric part (X - X^T) / 2; what is symmetric drops out."""
    return (x - x.transpose(-2, -1)) / 2


def cayley(x: Tensor, *, sign: int = -1) -> Tensor:
    """Map any matrices to rotations (Eq 5).

    With S = ``skew_part(x)``, sign -1 gives (I - S)(I + S)^-1, as released H-CLIP; sign +1 gives
    the transpose (I + S)(I - S)^-1, as the paper prints it. I + S is invertible for every skew S.

    Args:
        x: (..., q, q); half precision is computed in float32, also under autocast.
        sign: -1 or +1.

    Returns:
        (..., q, q) with R^T R = I and det R = 1, in the precision it was computed in.
    """
    with torch.autocast(x.device.type, enabled=False):
        wide = widened(x)
        skew = skew_part(wide) * -sign
        eye = torch.eye(x.shape[-1], dtype=wide.dtype, device=x.device)
        # Both factors are polynomials of S and commute, so a left solve is enough.
        # I + S is never singular, and to be told so a GPU would be waited for.
        return torch.linalg.solve_ex(eye + skew, eye - skew).result


def apply_block_diagonal(weight: Tensor, blocks: Tensor, *, side: str) -> Tensor:
    """Multiply matrices with D = diag(R_1, ..., R_b) without building D.

    Args:
        weight: (..., m, n) for side "right", (..., n, m) for side "left".
        blocks: (..., b, q, q), n = b * q; leading axes as ``weight``.
        side: "right" for W D, which rotates the inputs; "left" for D W, which mixes the outputs.

    Returns:
        The shape of ``weight``.
    """
    count, size = blocks.shape[-3], blocks.shape[-1]
    if side == "left":
        return (blocks @ weight.unflatten(-2, (count, size))).flatten(-3, -2)
    columns = weight.unflatten(-1, (count, size)).transpose(-3, -2)  # (..., b, m, q)
    return (columns @ blocks).transpose(-3, -2).flatten(-2)


def orthogonality_defect(blocks: Tensor) -> Tensor:
    """Largest entry of |R^T R - I| per matrix: (..., q, q) -> (...)."""
    eye = torch.eye(blocks.shape[-1], dtype=blocks.dtype, device=blocks.device)
    return (blocks.transpose(-2, -1) @ blocks - eye).abs().amax(dim=(-2, -1))
