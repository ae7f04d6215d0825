"""Exact labels at picture size from the few classes that can win in each grid cell.

A bilinear value is a convex mix of the four corners of its cell, so that few classes can win there
(``label_rows.py``): a handful as a rule, a tenth even of white noise. What all classes share at a
grid point decides nothing but blurs the bounds, so the best score of each point is taken off first.
Pixels where two classes come closer than the rounding error of the arithmetic are settled by
``F.interpolate`` itself on the scores as they came, so that the labels equal its own.

Letters: C classes, h x w the score grid, H x W the picture.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
import torch.nn.functional as F
from torch import Tensor

from .label_rows import Axis, LabelledRows, label_rows

_SMALL_OUTPUT = 16 * 2**20  # values (C * H * W) below which the plain way is as good
_STEP_VALUES = 4 * 2**20  # values held at once by all threads
_MAX_THREADS = 8
_SETTLE_CHUNK = 16  # never three: that kernel rounds differently


def candidate_labels(
    scores: Tensor, size: tuple[int, int], *, align_corners: bool = False
) -> Tensor | None:
    """Labels of the resized scores, or None where looking for candidates does not pay.

    That is so for small outputs, for factors below 2, for values that are not finite, off the CPU
    (an accelerator's interpolation is not the bottleneck), and where many classes are close to each
    other.

    Args:
        scores: (C, h, w) contiguous.
        size: (H, W) of the result.
        align_corners: as in ``F.interpolate``.

    Returns:
        (H, W) labels equal to ``F.interpolate(...).argmax(0)``, or None.
    """
    if not _pays(scores, size):
        return None
    rows = _axis(scores.shape[1], size[0], align_corners)
    columns = _axis(scores.shape[2], size[1], align_corners)
    if rows is None or columns is None:
        return None
    best = scores.amax(0)
    parts = _label_steps(scores - best, best, rows, columns)
    if parts is None:
        return None
    labels = torch.cat([part.labels for part in parts])
    rivals = torch.cat([part.rivals for part in parts]).unique()
    if len(rivals) > _many(len(scores)):
        return None
    if len(rivals):
        contested = torch.cat([part.contested for part in parts])
        labels[contested] = _settle(scores, rivals, contested, align_corners).to(labels.dtype)
    return labels


def _pays(scores: Tensor, size: tuple[int, int]) -> bool:
    num_classes, h, w = scores.shape
    return (
        scores.device.type == "cpu"
        and scores.dtype == torch.float32
        and num_classes * size[0] * size[1] > _SMALL_OUTPUT
        and min(h, w) > 1
        and size[0] >= 2 * h
        and size[1] >= 2 * w
        and num_classes >= _SETTLE_CHUNK
        and bool(scores.sum().isfinite())  # several times cheaper than to look at each
    )


def _many(num_classes: int) -> int:
    """Number of candidates from which chunks of all classes are cheaper."""
    return num_classes // 4 + 4 * _SETTLE_CHUNK


def _axis(grid: int, pixels: int, align_corners: bool) -> Axis | None:
    """Read cells and weights of one axis off PyTorch's own interpolation of four indicator maps.

    A formula of ours would round the source coordinate differently on some machines.
    """
    line = torch.arange(grid)
    probe = (line % 4 == torch.arange(4)[:, None]).float()[None, :, None]
    # 129 rows keep away from the kernel for small outputs.
    weights = F.interpolate(
        probe, size=(129, pixels), mode="bilinear", align_corners=align_corners
    )[0, :, 0]
    pixel = torch.arange(pixels, dtype=torch.float64)
    if align_corners:
        source = pixel * (grid - 1) / max(pixels - 1, 1)
    else:
        source = (pixel + 0.5) * grid / pixels - 0.5
    guess = source.floor().long()
    cell = torch.full_like(guess, -1)
    for shift in (1, -1, 0):  # rounding may put a pixel on a grid line into either neighbour
        tried = (guess + shift).clamp(0, grid - 2)
        others = torch.stack([(tried + 2) % 4, (tried + 3) % 4])
        cell = torch.where((weights.gather(0, others) == 0).all(0), tried, cell)
    if (cell < 0).any():
        return None
    near, far = weights.gather(0, torch.stack([cell % 4, (cell + 1) % 4]))
    return Axis(cell, near, far)


def _label_steps(
    scores: Tensor, best: Tensor, rows: Axis, columns: Axis
) -> list[LabelledRows] | None:
    """Label all rows, a step per thread; None as soon as a step has too many candidates.

    The operations of a step are too small to be split among PyTorch's threads, which would wait for
    each other most of the time.

    Args:
        scores: (C, h, w), 0 for the best class of each grid point and less for the others.
        best: (h, w) what was taken off, which bounds the rounding of the scores as they came.
        rows: resize of the column axis.
        columns: resize of the row axis.
    """
    size = best.abs()
    threads = min(torch.get_num_threads(), _MAX_THREADS)

    def label(step: tuple[int, slice]) -> LabelledRows | None:
        cell, chosen = step
        lines = Axis(*(x[chosen] for x in rows))
        corners, around = scores[:, cell : cell + 2], size[cell : cell + 2]
        return label_rows(corners, around, lines, columns, limit=_many(len(scores)))

    parts = []
    with _single_threaded(), ThreadPoolExecutor(threads) as pool:
        results = pool.map(label, _row_steps(scores, rows, columns, _STEP_VALUES // threads))
        for part in results:
            if part is None:
                pool.shutdown(cancel_futures=True)
                return None
            parts.append(part)
    return parts


@contextlib.contextmanager
def _single_threaded() -> Iterator[None]:
    """Let operations of this thread, and of threads that start now, run on one core each."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _row_steps(
    scores: Tensor, rows: Axis, columns: Axis, values: int
) -> Iterator[tuple[int, slice]]:
    """Cut the picture rows into steps that lie in one row of cells and hold about ``values``."""
    num_classes, _, w = scores.shape
    limit = max(1, values // (num_classes * w + 64 * len(columns.cell)))
    cells, counts = rows.cell.unique_consecutive(return_counts=True)
    start = 0
    for cell, count in zip(cells.tolist(), counts.tolist(), strict=True):
        for first in range(start, start + count, limit):
            yield cell, slice(first, min(first + limit, start + count))
        start += count


def _settle(scores: Tensor, rivals: Tensor, contested: Tensor, align_corners: bool) -> Tensor:
    """Decide contested pixels with the values of ``F.interpolate``.

    Args:
        scores: (C, h, w).
        rivals: classes that meet there, ascending.
        contested: (H, W) bool with P pixels set.
        align_corners: as in ``F.interpolate``.

    Returns:
        (P,) labels.
    """
    size, where = tuple(contested.shape), contested.flatten().nonzero().flatten()
    rivals = torch.cat([rivals, rivals[-1:].repeat(-len(rivals) % _SETTLE_CHUNK)]).long()
    best = torch.full((len(where),), -torch.inf)
    labels = torch.zeros(len(where), dtype=torch.long)
    for chunk in rivals.split(_SETTLE_CHUNK):
        planes = F.interpolate(
            scores[None, chunk], size=size, mode="bilinear", align_corners=align_corners
        )
        values, index = planes.flatten(2)[0][:, where].max(0)
        wins = values > best
        labels = torch.where(wins, chunk[index], labels)
        best = torch.where(wins, values, best)
    return labels
