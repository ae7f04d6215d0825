"""Median filter by merging sorted columns: exact, and made of whole-array minima and maxima only.

A window of side s holds s columns. Sorting a column once serves every window that it is part of,
and merging two neighbouring columns serves every window too; only the last selection is done per
window. This takes about 300 array operations for a 7 x 7 window and needs no (K, H, W, 49) copy.
Letters: K maps, H x W their size, s the window's side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

Sorted = list[Any]  # arrays (NumPy's or torch's) of one length, smallest values first

# Maps worked on together on the CPU: the sorted columns of more would not stay in its cache.
_CPU_MAPS = 3


def median_filter(maps: Tensor, side: int) -> Tensor:
    """Median in a square window; the border is repeated edge first (d c b a | a b c d | d c b a).

    Args:
        maps: (K, H, W).
        side: odd window side s.

    Returns:
        (K, H, W).
    """
    if side == 1 or not maps.numel():
        return maps
    if maps.device.type != "cpu":
        return _filter(maps, side)
    # NumPy's minimum and maximum cost a fraction of torch's on arrays of this size.
    return torch.cat([_filter(part, side) for part in maps.split(_CPU_MAPS)])


def _filter(maps: Tensor, side: int) -> Tensor:
    count, height, width = maps.shape
    rows, columns = (_mirrored(n, side // 2, maps.device) for n in (height, width))
    padded = maps[:, rows][:, :, columns]
    # Laid out flat, a step down is a shift by one padded row and all work is on contiguous arrays.
    # Windows that run over the right or lower border give values that are never read.
    line = padded.shape[2]
    flat = padded.flatten().numpy() if padded.device.type == "cpu" else padded.flatten()
    run = len(flat) - (side - 1) * line
    column = _sort([flat[i * line : i * line + run] for i in range(side)])
    medians = _window_medians(column, side)
    strides = (padded.shape[1] * line, line, 1)
    return torch.as_tensor(medians).as_strided((count, height, width), strides).contiguous()


def _window_medians(column: Sorted, side: int) -> Any:
    """Median over ``side`` neighbouring columns, each sorted."""
    runs = {1: column}
    while 2 * max(runs) <= side:
        half = max(runs)
        runs[2 * half] = _merge(*_beside(runs[half], runs[half], half))
    largest = max(runs)
    rest: Sorted = []
    start = largest
    for width in sorted(runs, reverse=True):
        if (side - largest) & width:
            own = [values[start:] for values in runs[width]]
            rest = _merge(_cut(rest, own), _cut(own, rest)) if rest else own
            start += width
    return _select(_cut(runs[largest], rest), _cut(rest, runs[largest]), side * side // 2 + 1)


def _beside(left: Sorted, right: Sorted, shift: int) -> tuple[Sorted, Sorted]:
    """Pair each place with the one ``shift`` columns to its right."""
    moved = [values[shift:] for values in right]
    return _cut(left, moved), moved


def _cut(values: Sorted, other: Sorted) -> Sorted:
    length = min(len(values[0]), len(other[0])) if values and other else None
    return [v[:length] for v in values]


def _sort(values: Sorted) -> Sorted:
    if len(values) == 1:
        return values
    middle = len(values) // 2
    return _merge(_sort(values[:middle]), _sort(values[middle:]))


def _merge(first: Sorted, second: Sorted) -> Sorted:
    """Batcher's odd-even merge of two sorted lists of any lengths."""
    if not first or not second:
        return first or second
    if len(first) == len(second) == 1:
        return [_low(first[0], second[0]), _high(first[0], second[0])]
    even, odd = _merge(first[::2], second[::2]), _merge(first[1::2], second[1::2])
    merged = [even[0]]
    for i in range(max(len(even) - 1, len(odd))):
        if i < len(odd) and i + 1 < len(even):
            merged += [_low(odd[i], even[i + 1]), _high(odd[i], even[i + 1])]
        else:
            merged.append(odd[i] if i < len(odd) else even[i + 1])
    return merged


def _select(first: Sorted, second: Sorted, rank: int) -> Any:
    """The ``rank``-th smallest of two sorted lists together.

    If i of the first and rank - i of the second are the smallest, the larger of their last members
    is the value sought; every other split gives a larger one.
    """
    best = None
    for i in range(max(0, rank - len(second)), min(rank, len(first)) + 1):
        j = rank - i
        if i and j:
            value = _high(first[i - 1], second[j - 1])
        else:
            value = first[i - 1] if i else second[j - 1]
        best = value if best is None else _low(best, value)
    return best


def _low(a: Any, b: Any) -> Any:
    return np.minimum(a, b) if isinstance(a, np.ndarray) else torch.minimum(a, b)


def _high(a: Any, b: Any) -> Any:
    return np.maximum(a, b) if isinstance(a, np.ndarray) else torch.maximum(a, b)


def _mirrored(count: int, radius: int, device: torch.device) -> Tensor:
    index = torch.arange(-radius, count + radius, device=device) % (2 * count)
    return torch.minimum(index, 2 * count - 1 - index)
