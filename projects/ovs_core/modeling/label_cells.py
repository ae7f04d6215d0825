"""Exact labels of the pixels between grid points, from the classes that can win there.

A bilinear value is a convex mix of the four corners of its cell, so that a class whose largest
corner is below the largest of all classes' smallest corners can't win in that cell. The same holds,
more sharply, on a segment: one picture row of a cell, where a value is a mix of two. What is left
is evaluated, class by class and not padded to the most contested segment; pixels where two classes
come closer than the rounding error of the arithmetic are given back as contested.

Letters: C classes, h x w grid points, n rows of cells of a band, S = n * (w - 1) cells, R pixel
rows of a cell and P pixel columns of a cell, N pairs of a cell and a class that can win in it, M
pairs of a segment and a class that can win in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

# Ours and PyTorch's value of a pixel are each within about five roundings of the exact one,
# relative to the largest corner; this bounds the difference of two such pairs with room to spare.
_SLACK = 16 * torch.finfo(torch.float32).eps


class Axis(NamedTuple):
    """How one axis of pixels is resized: ``near * grid[cell] + far * grid[cell + 1]``.

    Attributes:
        place: (pixels,) int64, which entry of the flattened weights a pixel is.
        near: (cells, P) float32 of the pixels of each cell; the last one is repeated.
        far: (cells, P) float32.
    """

    place: Tensor
    near: Tensor
    far: Tensor


class LabelledCells(NamedTuple):
    """What is known of a band of cells.

    Attributes:
        labels: (S, R, P) int16 or int32.
        contested: (S, R, P) bool: two classes are closer than the rounding error.
        rivals: classes that meet in contested pixels, with repeats.
    """

    labels: Tensor
    contested: Tensor
    rivals: Tensor


class _Pairs(NamedTuple):
    """Classes that can win, and their values at the two ends of a segment.

    Attributes:
        segment: int64 number of the segment.
        name: int64 class.
        left: value at the left end.
        right: value at the right end.
    """

    segment: Tensor
    name: Tensor
    left: Tensor
    right: Tensor


def by_cell(cell: Tensor, near: Tensor, far: Tensor, cells: int) -> Axis:
    """Put the pixels of an axis in order of the cells.

    Args:
        cell: (pixels,) int64 cell of each pixel, ascending.
        near: (pixels,) weight of the grid point before it.
        far: (pixels,) weight of the grid point behind it.
        cells: how many there are.
    """
    counts = torch.bincount(cell, minlength=cells)
    first = counts.cumsum(0) - counts
    most = int(counts.max())
    pixel = first[:, None] + torch.arange(most).minimum(counts[:, None] - 1).clamp(min=0)
    pixel = pixel.clamp(max=len(cell) - 1)  # of a last cell without pixels
    place = cell * most + torch.arange(len(cell)) - first[cell]
    return Axis(place, near[pixel], far[pixel])


def label_dtype(num_classes: int) -> torch.dtype:
    """Smallest signed type that holds the labels of ``num_classes`` classes (int16 or int32)."""
    return torch.int16 if num_classes <= torch.iinfo(torch.int16).max + 1 else torch.int32


def label_cells(
    scores: Tensor, size: Tensor, rows: Axis, columns: Axis, *, limit: int, dtype: torch.dtype
) -> LabelledCells | None:
    """Label the pixels of a band of cells.

    Args:
        scores: (C, n + 1, w), 0 for the best class of each grid point, less for the others.
        size: (n + 1, w) how large the scores were as they came.
        rows: resize of the column axis, of these rows of cells.
        columns: resize of the row axis.
        limit: mean number of candidates above which this does not pay.
        dtype: of the labels.

    Returns:
        The labels; None with more candidates than ``limit``.
    """
    alive, shared = _alive(scores, size)
    pairs, error = _segment_pairs(scores, alive, shared, rows)
    down, across = rows.near.shape[1], columns.near.shape[1]
    error = error.repeat_interleave(down)  # of each segment
    if len(pairs.segment) > limit * len(error):
        return None
    several = torch.bincount(pairs.segment, minlength=len(error)) > 1
    labels = torch.empty(len(error), dtype=dtype)
    labels[pairs.segment] = pairs.name.to(dtype)  # right where there is one candidate
    labels = labels[:, None].repeat(1, across)
    undecided = several.take(pairs.segment)
    contest = _Pairs(*(part.masked_select(undecided) for part in pairs))
    column = contest.segment // down % len(columns.near)
    values = contest.left[:, None] * columns.near.index_select(0, column)
    values.addcmul_(contest.right[:, None], columns.far.index_select(0, column))
    own = (several.cumsum(0) - 1).take(contest.segment)
    bounds = _largest(own, values, int(several.sum())) - error.masked_select(several)[:, None]
    close = values >= bounds.index_select(0, own)
    contested, rivals = _write(labels, contest, close)
    shape = (len(shared), down, across)
    return LabelledCells(labels.view(shape), contested.view(shape), rivals)


def _alive(scores: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Tell which classes can win in which cell.

    Returns:
        (C, S) bool, and (S,) how large the scores around each cell were as they came.
    """
    high, low = _over_corners(torch.maximum, scores), _over_corners(torch.minimum, scores)
    floor, shared = low.amax(0), _over_corners(torch.maximum, size)
    alive = high >= floor + 2 * _SLACK * (floor - shared)  # no score is above 0
    return alive.flatten(1), shared.flatten()


def _over_corners(take: Callable[[Tensor, Tensor], Tensor], values: Tensor) -> Tensor:
    beside = take(values[..., :-1], values[..., 1:])
    return take(beside[..., :-1, :], beside[..., 1:, :])


def _segment_pairs(
    scores: Tensor, alive: Tensor, shared: Tensor, rows: Axis
) -> tuple[_Pairs, Tensor]:
    """Find the classes that can win in each segment, and how exact a value is in each cell.

    Args:
        scores: (C, n + 1, w).
        alive: (C, S) which classes can win in which cell.
        shared: (S,) how large the scores were as they came.
        rows: resize of the column axis.

    Returns:
        M pairs, and (S,) bounds on the difference of two computed values.
    """
    w = scores.shape[2]
    name, cell = alive.nonzero(as_tuple=True)
    row = cell // (w - 1)
    first = name * scores[0].numel() + cell + row  # a row has one cell less than points
    flat = scores.flatten()
    corners = [flat.take(first + shift)[:, None] for shift in (0, 1, w, w + 1)]
    near, far = rows.near.index_select(0, row), rows.far.index_select(0, row)  # (N, R)
    ends = [corners[side] * near + corners[side + 2] * far for side in (0, 1)]
    lowest = torch.cat(corners, 1).amin(1, keepdim=True)
    error = _SLACK * (shared + _largest(cell, -lowest, len(shared))[:, 0])
    floor = _largest(cell, torch.minimum(*ends), len(shared)) - error[:, None]
    can_win = torch.maximum(*ends) >= floor.index_select(0, cell)
    pair, line = can_win.nonzero(as_tuple=True)
    segment = cell.take(pair) * near.shape[1] + line
    return _Pairs(segment, name.take(pair), *(x.masked_select(can_win) for x in ends)), error


def _write(labels: Tensor, pairs: _Pairs, close: Tensor) -> tuple[Tensor, Tensor]:
    """Write the labels of pixels for which several classes were evaluated.

    Args:
        labels: (segments, P), changed.
        pairs: the classes.
        close: (pairs, P) whether no other class is better by more than rounding could change.

    Returns:
        (segments, P) bool where several are close, and these classes.
    """
    pair, pixel = close.nonzero(as_tuple=True)
    where = pairs.segment.take(pair) * labels.shape[1] + pixel
    names, flat = pairs.name.take(pair).to(labels.dtype), labels.view(-1)
    flat[where] = names
    overwritten = flat.take(where) != names
    contested = torch.zeros_like(flat, dtype=torch.bool)
    contested[where.masked_select(overwritten)] = True
    return contested.view_as(labels), names.masked_select(contested.view(-1).take(where))


def _largest(index: Tensor, values: Tensor, count: int) -> Tensor:
    """Take the largest row-wise value of each index: (m,) of ``count``, (m, k) -> (count, k)."""
    start = values.new_full((count, values.shape[1]), -torch.inf)
    return start.scatter_reduce_(0, index[:, None].expand_as(values), values, "amax")
