"""The T-product of tensors of order three and higher, and its form for any invertible transform.

The definitions by which H-CLIP motivates its cross-layer communication (Eqs 2 to 4 and 10 to 18),
pinned by reference vectors; the network itself needs ``mode_product`` alone. A tensor of order p is
(n1, n2, n3, ..., np): n1 x n2 matrices, "frontal slices", over the tube axes 3..p. Modes are
numbered from 1 as in the paper. Every function accepts real or complex tensors of any precision
(half precision is widened where PyTorch has no kernel for it) and is differentiable; ``torch.vmap``
runs it over a batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import UserError
from .orthogonal import widened


def circ(a: Tensor) -> Tensor:
    """Arrange the slices along the last axis as a block-circulant tensor (Eq 2).

    Args:
        a: (n1, n2, ..., n) of order p >= 3 with slices ``a[..., i]``.

    Returns:
        (n1 * n, n2 * n, ...) of order p - 1, whose block (i, j) along the first two axes is slice
        ``(i - j) mod n``.
    """
    _check_order(a)
    n = a.shape[-1]
    steps = torch.arange(n, device=a.device)
    blocks = a[..., (steps[:, None] - steps) % n]  # (n1, n2, ..., i, j)
    blocks = blocks.movedim((-2, -1), (0, 2))  # (i, n1, j, n2, ...)
    return blocks.reshape(n * a.shape[0], n * a.shape[1], *a.shape[2:-1])


def unfold(a: Tensor) -> Tensor:
    """Stack the slices of the last axis upon of each other (Eq 3): (n1, .., n) -> (n * n1, ..)."""
    _check_order(a)
    return a.movedim(-1, 0).flatten(0, 1)


def fold(stacked: Tensor, n: int) -> Tensor:
    """Undo ``unfold`` (Eq 4): (n * n1, ...) -> (n1, ..., n).

    Raises:
        UserError: if the first extent is no multiple of ``n``.
    """
    if n < 1 or stacked.shape[0] % n:
        raise UserError(f"fold: {stacked.shape[0]} rows cannot be cut into {n} slices")
    return stacked.unflatten(0, (n, -1)).movedim(0, -1)


def t_product_by_definition(a: Tensor, b: Tensor) -> Tensor:
    """T-product as it is defined, ``fold(circ(a) * unfold(b))`` down to matrices (Eqs 10, 11).

    The reference for ``t_product``; its cost grows with the square of every tube extent.

    Args:
        a: (n1, n2, n3, ..., np).
        b: (n2, l, n3, ..., np).

    Returns:
        (n1, l, n3, ..., np).
    """
    _check_pair(a, b)
    if a.dim() == 2:
        return a @ b
    return fold(t_product_by_definition(circ(a), unfold(b)), a.shape[-1])


def t_product(a: Tensor, b: Tensor) -> Tensor:
    """T-product through the Fourier domain, where it is a matrix product per slice.

    Args:
        a: (n1, n2, n3, ..., np).
        b: (n2, l, n3, ..., np).

    Returns:
        (n1, l, n3, ..., np); real if both factors are.
    """
    _check_pair(a, b)
    tubes = tuple(range(2, a.dim()))
    if not tubes:
        return a @ b
    product = _slicewise(*(torch.fft.fftn(widened(x), dim=tubes) for x in (a, b)))
    result = torch.fft.ifftn(product, dim=tubes)
    return (result if a.is_complex() or b.is_complex() else result.real).to(_result_type(a, b))


def mode_product(a: Tensor, matrix: Tensor, mode: int) -> Tensor:
    """Multiply a tensor with a matrix along one mode, ``a x_k S``.

    Args:
        a: tensor of order p with extent n at the mode.
        matrix: (m, n).
        mode: 1..p, counted as in the paper.

    Returns:
        ``a`` with extent m at the mode: entry j is the sum over i of
        ``matrix[j, i] * a[.., i, ..]``.

    Raises:
        UserError: if the mode does not exist or the matrix has other columns.
    """
    if not 1 <= mode <= a.dim():
        raise UserError(f"mode {mode} does not exist in a tensor of order {a.dim()}")
    if matrix.dim() != 2 or matrix.shape[1] != a.shape[mode - 1]:
        raise UserError(
            f"mode {mode} has extent {a.shape[mode - 1]}, but the matrix is {tuple(matrix.shape)}"
        )
    return torch.tensordot(a, matrix, dims=([mode - 1], [1])).movedim(-1, mode - 1)


def transform(a: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Bring a tensor to the transform domain, ``a x_3 S3 x_4 S4 ... x_p Sp`` (Eqs 13, 16).

    Args:
        a: (n1, n2, n3, ..., np).
        matrices: p - 2 matrices (n_k, n_k).

    Raises:
        UserError: if their number is not p - 2.
    """
    if len(matrices) != a.dim() - 2:
        raise UserError(
            f"a tensor of order {a.dim()} needs {a.dim() - 2} matrices, but got {len(matrices)}"
        )
    for mode, matrix in enumerate(matrices, start=3):
        a = mode_product(a, matrix, mode)
    return a


def transform_product(a: Tensor, b: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Product under any invertible transform: slice-wise in its domain, then back (Eqs 12, 15).

    With DFT matrices it is the T-product; with others it is a product of its own (Kernfeld et al.).

    Args:
        a: (n1, n2, n3, ..., np).
        b: (n2, l, n3, ..., np).
        matrices: p - 2 invertible matrices (n_k, n_k).

    Returns:
        (n1, l, n3, ..., np).
    """
    _check_pair(a, b)
    wide = [widened(matrix) for matrix in matrices]
    product = _slicewise(transform(widened(a), wide), transform(widened(b), wide))
    for mode, matrix in enumerate(wide, start=3):
        moved = product.movedim(mode - 1, 0)
        solved = torch.linalg.solve(matrix.to(product.dtype), moved.flatten(1))
        product = solved.view_as(moved).movedim(0, mode - 1)
    return product.to(_result_type(a, b, *matrices))


def _result_type(*tensors: Tensor) -> torch.dtype:
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def _slicewise(a: Tensor, b: Tensor) -> Tensor:
    """Multiply the frontal slices of two tensors pair by pair."""
    return torch.einsum("ij...,jk...->ik...", a, b)


def _check_order(a: Tensor) -> None:
    if a.dim() < 3:
        raise UserError(f"circ and unfold need a tensor of order 3 or more, got {a.dim()}")


def _check_pair(a: Tensor, b: Tensor) -> None:
    fits = a.dim() == b.dim() >= 2 and a.shape[1] == b.shape[0] and a.shape[2:] == b.shape[2:]
    if not fits:
        raise UserError(
            f"these tensors cannot be multiplied: {tuple(a.shape)} and {tuple(b.shape)}; "
            "(n1, n2, n3..) needs (n2, l, n3..)"
        )
