"""Exact labels at picture size from the few classes that can win in each grid cell.

A bilinear value is a convex mix of the four corners of its cell, so that few classes can win there
(``label_cells.py``): a handful as a rule, a tenth even of white noise. What all classes share at a
grid point decides nothing but blurs the bounds, so the best score of each point is taken off first.
Pixels where two classes come closer than the rounding error of the arithmetic are settled by
``F.interpolate`` itself on the scores as they came, so that the labels equal its own.

Letters: C classes, h x w the score grid, H x W the picture, R x P the most pixels of a cell.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from .label_cells import Axis, LabelledCells, by_cell, label_cells, label_dtype

_SMALL_OUTPUT = 2**20  # values (C * H * W) below which the plain way is as good
_SMALL_SIDES = 128  # H + W up to which PyTorch has a kernel that rounds differently
_BAND_VALUES = 16 * 2**20  # C * R * P * cells at once by all threads; a tenth of them is evaluated
_MAX_THREADS = 8
_SETTLE_CHUNK = 16  # never three: that kernel rounds differently

S = TypeVar("S")
T = TypeVar("T")


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
    found = _find(scores, size, align_corners)
    if found is None:
        return None
    bands, rows, columns, rivals = found
    labels = _pixels([band.labels for band in bands], rows, columns)
    if len(rivals):
        contested = _pixels([band.contested for band in bands], rows, columns)
        labels[contested] = _settle(scores, rivals, contested, align_corners).to(labels.dtype)
    return labels


def contenders(scores: Tensor, size: tuple[int, int]) -> Tensor | None:
    """Classes of which one is the best at each pixel of the resized scores, to any rounding.

    A resize that is computed in another way than PyTorch's, with the same weights, has its best
    class among them, too.

    Args:
        scores: (C, h, w) contiguous.
        size: (H, W) of the result, with equal outer edges.

    Returns:
        (n,) int64 ascending; None where looking for them does not pay, see ``candidate_labels``.
    """
    if torch.compiler.is_compiling():  # a traced program cannot go where the data leads
        return None
    found = _find(scores, size, align_corners=False)
    if found is None:
        return None
    bands, _, _, rivals = found
    wins = torch.zeros(len(scores), dtype=torch.bool)
    wins[rivals.long()] = True
    for band in bands:
        wins |= torch.bincount(band.labels.flatten(), minlength=len(scores)) > 0
    return wins.nonzero()[:, 0]


def _find(
    scores: Tensor, size: tuple[int, int], align_corners: bool
) -> tuple[list[LabelledCells], Axis, Axis, Tensor] | None:
    """Label the cells: bands of them, both axes, and the classes that meet in contested pixels."""
    if not _pays(scores, size):
        return None
    rows = _axis(scores.shape[1], size[0], align_corners)
    columns = _axis(scores.shape[2], size[1], align_corners)
    if rows is None or columns is None:
        return None
    best = scores.amax(0)
    bands = _label_bands(scores - best, best.abs(), rows, columns)
    if bands is None:
        return None
    rivals = torch.cat([band.rivals for band in bands]).unique()
    return None if len(rivals) > _many(len(scores)) else (bands, rows, columns, rivals)


def _pays(scores: Tensor, size: tuple[int, int]) -> bool:
    num_classes, h, w = scores.shape
    return (
        scores.device.type == "cpu"
        and scores.dtype == torch.float32
        and num_classes * size[0] * size[1] > _SMALL_OUTPUT
        and size[0] + size[1] > _SMALL_SIDES
        and min(h, w) > 1
        and size[0] >= 2 * h
        and size[1] >= 2 * w
        and num_classes >= _SETTLE_CHUNK
        and bool(scores.sum().isfinite())  # several times cheaper than to look at each
    )


def _many(num_classes: int) -> int:
    """Number of candidates from which chunks of all classes are cheaper."""
    return num_classes // 4 + 4 * _SETTLE_CHUNK


@lru_cache(maxsize=64)
@torch.no_grad()
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
    return by_cell(cell, near, far, grid - 1)


def _label_bands(
    scores: Tensor, size: Tensor, rows: Axis, columns: Axis
) -> list[LabelledCells] | None:
    """Label all cells, a band per thread; None as soon as a band has too many candidates.

    The operations of a band are too small to be split among PyTorch's threads, which would wait for
    each other most of the time.

    Args:
        scores: (C, h, w), 0 for the best class of each grid point and less for the others.
        size: (h, w) how large the scores were as they came.
        rows: resize of the column axis.
        columns: resize of the row axis.
    """
    threads = min(torch.get_num_threads(), _MAX_THREADS)
    per_row = len(scores) * rows.near.shape[1] * columns.near.numel()
    step = max(1, _BAND_VALUES // threads // per_row)
    starts = range(0, len(rows.near), step)

    def label(start: int) -> LabelledCells | None:
        own = slice(start, start + step)
        band = Axis(rows.place, rows.near[own], rows.far[own])
        points = slice(start, start + step + 1)
        return label_cells(
            scores[:, points], size[points], band, columns,
            limit=_many(len(scores)), dtype=label_dtype(len(scores)),
        )  # fmt: skip

    found: list[LabelledCells] = []
    with _mapped(label, starts, threads) as bands:
        for band in bands:
            if band is None:
                return None
            found.append(band)
    return found


@contextlib.contextmanager
def _mapped(function: Callable[[S], T], items: Iterable[S], threads: int) -> Iterator[Iterator[T]]:
    """Apply a function to items in order, in threads that each run on one core."""
    if threads == 1:
        yield map(function, items)
        return
    torch.set_num_threads(1)  # of this thread, and of those that start now
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield pool.map(function, items)
            pool.shutdown(cancel_futures=True)
    finally:
        torch.set_num_threads(threads)


def _pixels(bands: Sequence[Tensor], rows: Axis, columns: Axis) -> Tensor:
    """Bring (cells, R, P) values of bands of cells to their pixels: (H, W)."""
    down, across, per_row = rows.near.shape[1], columns.near.shape[1], columns.near.numel()
    cell, line = rows.place // down, rows.place % down
    top = cell * per_row * down + line * across
    cell, pixel = columns.place // across, columns.place % across
    return torch.cat(list(bands)).take(top[:, None] + cell * down * across + pixel)


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
