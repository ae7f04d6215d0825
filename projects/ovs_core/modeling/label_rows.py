"""Exact labels of picture rows that lie between two neighbouring rows of the score grid.

A class whose largest corner is below the largest of all classes' smallest corners can't win in that
cell. The same holds, more sharply, on one picture row between two grid columns, where a value is a
mix of two. What is left is evaluated; pixels where two classes come closer than the rounding error
of the arithmetic are given back as contested.

Letters: C classes, w grid columns, W pixel columns, R picture rows of one step, n classes that can
win in a step, m the largest number of them in one segment (one row between two grid columns).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# Ours and PyTorch's value of a pixel are each within about five roundings of the exact one,
# relative to the largest corner; this bounds the difference of two such pairs with room to spare.
_SLACK = 16 * torch.finfo(torch.float32).eps


class Axis(NamedTuple):
    """How one axis of P pixels is resized: ``near * grid[cell] + far * grid[cell + 1]``.

    Attributes:
        cell: (P,) int64, never the last grid line.
        near: (P,) float32.
        far: (P,) float32.
    """

    cell: Tensor
    near: Tensor
    far: Tensor


class LabelledRows(NamedTuple):
    """What is known of R picture rows.

    Attributes:
        labels: (R, W) int16 or int32.
        contested: (R, W) bool: two classes are closer than the rounding error.
        rivals: classes that meet in contested pixels, with repeats.
    """

    labels: Tensor
    contested: Tensor
    rivals: Tensor


def label_rows(
    corners: Tensor, size: Tensor, rows: Axis, columns: Axis, *, limit: int
) -> LabelledRows | None:
    """Label R picture rows between two grid rows.

    Args:
        corners: (C, 2, w) scores of the grid rows.
        size: (2, w) how large the scores were as they came.
        rows: resize of the column axis.
        columns: resize of the row axis.
        limit: candidates of one segment from which this does not pay.

    Returns:
        The labels; None with more candidates than ``limit``.
    """
    alive, error = _alive(corners, size)
    classes = alive.any(1).nonzero().flatten()
    corners, alive = corners[classes], alive[classes]
    near, far = rows.near[:, None], rows.far[:, None]
    lines = corners[:, 0, None] * near + corners[:, 1, None] * far  # (n, R, w)
    floor = torch.minimum(lines[..., :-1], lines[..., 1:]).amax(0)
    ceiling = torch.maximum(lines[..., :-1], lines[..., 1:])
    can_win = (ceiling >= floor - error) & alive[:, None]
    table = _candidate_table(can_win)  # (m, R, w - 1) positions in `classes`
    if len(table) > limit:
        return None
    best = _best_of(lines, table, error, columns)
    names = classes.to(best.labels.dtype)
    return LabelledRows(names[best.labels.long()], best.contested, names[best.rivals.long()])


def _alive(corners: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Tell which classes can win in which cell, and how exact a value is there.

    Args:
        corners: (C, 2, w) two neighbouring grid rows.
        size: (2, w) as in ``label_rows``.

    Returns:
        (C, w - 1) bool, and (w - 1,) bound on the difference of two computed values.
    """
    high, low = corners.amax(1), corners.amin(1)
    high = torch.maximum(high[:, :-1], high[:, 1:])
    low = torch.minimum(low[:, :-1], low[:, 1:])
    floor, shared = low.amax(0), size.amax(0)
    shared = torch.maximum(shared[:-1], shared[1:])
    alive = high >= floor + 2 * _SLACK * (floor - shared)  # no score is above 0
    return alive, _SLACK * (shared - low.masked_fill(~alive, 0).amin(0))


def _candidate_table(can_win: Tensor) -> Tensor:
    """List the candidates of each segment, padded by repeating the first one.

    Args:
        can_win: (n, R, S) bool with at least one True per segment.

    Returns:
        (m, R, S) int64 positions along the first axis, ascending.
    """
    flat = can_win.flatten(1)
    segment, position = flat.T.contiguous().nonzero(as_tuple=True)
    counts = torch.bincount(segment, minlength=flat.shape[1])
    starts = counts.cumsum(0) - counts
    table = position[starts].repeat(int(counts.max()), 1)
    table[torch.arange(len(segment)) - starts[segment], segment] = position
    return table.view(-1, *can_win.shape[1:])


def _best_of(lines: Tensor, table: Tensor, error: Tensor, columns: Axis) -> LabelledRows:
    """Evaluate the candidates at every pixel of R rows.

    Args:
        lines: (n, R, w) scores of the rows at the grid columns.
        table: (m, R, w - 1) candidates of each segment.
        error: (w - 1,) bound on the difference of two computed values.
        columns: resize of the row axis.

    Returns:
        Labels (positions along n) of (R, W) pixels, which are contested and by whom.
    """
    _, height, w = lines.shape
    place = torch.arange(height * w).view(height, w)[:, :-1] + table * (height * w)
    dtype = torch.int16 if len(lines) < 2**15 else torch.int32
    # A gather is several times faster than an index here.
    at_pixels = columns.cell.expand(*table.shape[:2], -1)
    values = lines.take(place).gather(2, at_pixels).mul_(columns.near)
    values.addcmul_(lines.take(place.add_(1)).gather(2, at_pixels), columns.far)
    names = table.to(dtype).gather(2, at_pixels)
    far_off = values < values.amax(0) - error[columns.cell]
    first = names.masked_fill(far_off, torch.iinfo(dtype).max).amin(0)
    contested = first != names.masked_fill_(far_off, -1).amax(0)
    rivals = names[:, contested]
    return LabelledRows(first, contested, rivals[rivals >= 0])
