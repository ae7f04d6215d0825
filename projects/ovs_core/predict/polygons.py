"""Masks as polygons that follow the edges of pixels, so that nothing is lost.

Corners have whole coordinates: pixel (row, column) is the square from (column, row) to
(column + 1, row + 1). COCO's rasterizer gives back every pixel. Since COCO's polygons of a mask are
united, a hole cannot be one of them; what has a hole is cut through it into pieces.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]


def polygons_of(mask: Mask) -> list[list[int]]:
    """Outline a mask.

    Args:
        mask: (H, W).

    Returns:
        Polygons as x, y, x, y, ... in pixels. They don't overlap; filled, they are the mask.
    """
    found: list[list[int]] = []
    regions, _ = ndimage.label(mask)
    waiting = [
        (regions[box] == number, box[1].start, box[0].start)
        for number, box in enumerate(ndimage.find_objects(regions), start=1)
    ]
    while waiting:
        region, left, top = waiting.pop()
        loops = _loops(region)
        if len(loops) == 1:
            found.append((loops[0] + (left, top)).ravel().tolist())
            continue
        for piece, x in _cut(region, loops):
            parts, _ = ndimage.label(piece)
            waiting += [
                (parts[box] == number, left + x + box[1].start, top + box[0].start)
                for number, box in enumerate(ndimage.find_objects(parts), start=1)
            ]
    return sorted(found)


def _cut(region: Mask, loops: list[NDArray[np.intp]]) -> list[tuple[Mask, int]]:
    """Cut a region with holes from top to bottom, through the hole that is nearest its middle."""
    middle = region.shape[1] / 2
    spans = sorted((loop[:, 0].min(), loop[:, 0].max()) for loop in loops)
    columns = [(low + high) // 2 for low, high in spans if high - low < region.shape[1]]
    columns = [column for column in columns if 0 < column < region.shape[1]]
    x = int(min(columns, key=lambda column: abs(column - middle)))
    return [(region[:, :x], 0), (region[:, x:], x)]


def _loops(region: Mask) -> list[NDArray[np.intp]]:
    """Outlines of a region of pixels that share edges: the outer one, and one for each hole.

    Returns:
        (corners, 2) x, y each. In every row, corners are joined two by two, and so in every column.
    """
    padded = np.pad(region, 1)
    nw, ne, sw, se = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    is_corner = nw ^ ne ^ sw ^ se
    is_crossing = (nw == se) & (ne == sw) & (nw != ne)  # two corners that touch
    y, x = np.nonzero(is_corner | is_crossing)
    double = is_crossing[y, x]
    falling = nw[y, x] & double  # from upper left to lower right
    # The first of two touching corners has the edge to the left, the second that to the right.
    y, x = np.concatenate([y, y[double]]), np.concatenate([x, x[double]])
    second = np.concatenate([np.zeros_like(double), np.ones(int(double.sum()), bool)])
    is_below = second ^ ~np.concatenate([falling, falling[double]])
    across = _partners(np.lexsort((second, x, y)))
    down = _partners(np.lexsort((is_below, y, x)))
    loops, left = [], np.ones(len(x), bool)
    for start in range(len(x)):
        loop, at = [], start
        while left[at]:
            loop += [at, across[at]]
            left[loop[-2:]] = False
            at = down[across[at]]
        if loop:
            loops.append(np.stack([x[loop], y[loop]], axis=1))
    return loops


def _partners(order: NDArray[np.intp]) -> list[int]:
    partner = np.empty_like(order)
    partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    found: list[int] = partner.tolist()
    return found
