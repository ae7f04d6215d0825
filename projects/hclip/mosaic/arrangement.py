"""Which pictures of a step go into which mosaic, and laying them out.

Letters: g cells per side of a mosaic, p side of a picture, S side of a canvas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Arrangement:
    """Where pictures go.

    Attributes:
        mosaics: numbers of the g * g pictures of each mosaic, row by row.
        alone: numbers of the pictures that are left over.
    """

    mosaics: tuple[tuple[int, ...], ...]
    alone: tuple[int, ...]

    @property
    def order(self) -> list[int]:
        """Numbers of all pictures: those in mosaics, then those alone."""
        return [*(number for mosaic in self.mosaics for number in mosaic), *self.alone]


def arrange(pictures: int, group: int, grids: Sequence[int]) -> Arrangement:
    """Share out pictures, group by group.

    Of a group, as many mosaics of each grid are made as it has pictures for; the others stay alone.
    Places follow the order of the pictures, which is a random one already.

    Args:
        pictures: how many there are.
        group: neighbours that are laid out together.
        grids: cells per side.
    """
    mosaics: list[tuple[int, ...]] = []
    alone: list[int] = []
    for start in range(0, pictures, group):
        numbers = range(start, min(start + group, pictures))
        sets, taken = len(numbers) // smallest_group(grids), 0
        for cells in (grid * grid for grid in grids for _ in range(sets)):
            mosaics.append(tuple(numbers[taken : taken + cells]))
            taken += cells
        alone += numbers[taken:]
    return Arrangement(tuple(mosaics), tuple(alone))


def smallest_group(grids: Sequence[int]) -> int:
    """Pictures that one mosaic of each grid takes."""
    return sum(grid * grid for grid in grids)


def mosaic_of(pictures: Tensor, canvas: int) -> Tensor:
    """Lay pictures out row by row, and bring the whole to its size.

    Args:
        pictures: (g * g, 3, p, p).
        canvas: S.

    Returns:
        (3, S, S).
    """
    grid = round(len(pictures) ** 0.5)
    rows = pictures.unflatten(0, (grid, grid)).permute(2, 0, 3, 1, 4)
    whole = rows.flatten(3, 4).flatten(1, 2)
    return F.interpolate(whole[None], size=(canvas, canvas), mode="bicubic")[0]


def cell_boxes(grid: int, canvas: int) -> Tensor:
    """(g * g, 4) left, top, right, bottom of the cells of a canvas in pixels, row by row."""
    edges = torch.linspace(0, canvas, grid + 1)
    top, left = torch.meshgrid(edges[:-1], edges[:-1], indexing="ij")
    bottom, right = torch.meshgrid(edges[1:], edges[1:], indexing="ij")
    return torch.stack([left, top, right, bottom], dim=-1).flatten(0, 1)
