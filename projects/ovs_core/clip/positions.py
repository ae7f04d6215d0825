"""Resizing the position table of a CLIP image tower to another grid.

Every published method does it in its own way and their figures depend on it, so the way is a value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError
from ..tensor.resampling import cubic_matrix, known_later

Grid = tuple[int, int]  # rows and columns
# (1 + N, C) table, its grid, wanted grid (h, w) -> (1 + h * w, C)
Positions = Callable[[Tensor, Grid, Grid], Tensor]


@dataclass(frozen=True)
class PositionRule:
    """How a (1 + N, C) position table is fitted to an h x w grid.

    Attributes:
        mode: interpolation, ``"bicubic"`` or ``"bilinear"``.
        offset: added to h and w when the scale factor is formed. 0 asks for the size itself;
            CLIPtrase and SCLIP use 0.1, which makes PyTorch sample with that slightly larger
            factor.
        keep_same_count: leave the table as it is whenever h * w equals N, even if the shape differs
            (for example 7 x 28 against 14 x 14), as released CLIPtrase does.
        antialias: smooth a table that becomes smaller; only without ``offset``.
        align_corners: whether the centres of the corner cells stay in the corners (MAFT), else the
            outer edges do; only without ``offset``.
    """

    mode: str = "bicubic"
    offset: float = 0.0
    keep_same_count: bool = False
    antialias: bool = False
    align_corners: bool = False

    def __call__(self, table: Tensor, table_grid: Grid, grid: Grid) -> Tensor:
        """Fit the table.

        Args:
            table: (1 + N, C), CLS row first.
            table_grid: rows and columns of the table, N = rows * columns.
            grid: wanted (h, w).

        Returns:
            (1 + h * w, C).

        Raises:
            UserError: if the table does not have its grid's number of rows.
        """
        rows, columns = table_grid
        if table.shape[0] != 1 + rows * columns:
            raise UserError(
                f"position table has {table.shape[0]} rows, expected 1 + {rows} x {columns}"
            )
        if known_later(grid):
            return self._later(table, table_grid, grid)
        same_count = self.keep_same_count and grid[0] * grid[1] == rows * columns
        if tuple(grid) == tuple(table_grid) or same_count:
            return table
        image = table[1:].float().T.reshape(1, -1, rows, columns)
        image = self._resize(image, table_grid, grid)
        patches = image.flatten(2)[0].T.to(table.dtype)
        return torch.cat([table[:1], patches])

    def _later(self, table: Tensor, table_grid: Grid, grid: Grid) -> Tensor:
        """Fit a table to a grid that a written program knows only when it runs."""
        if self.mode != "bicubic" or self.antialias or self.align_corners:
            raise UserError(
                f"position tables are fitted by {self.mode} interpolation, which a program of any "
                "size has not"
            )
        rows, columns = (
            cubic_matrix(new, old, offset=self.offset, like=table)
            for new, old in zip(grid, table_grid, strict=True)
        )
        image = table[1:].unflatten(0, table_grid)
        fitted = torch.einsum("ha,abc,wb->hwc", rows, image, columns)
        return torch.cat([table[:1], fitted.flatten(0, 1)])

    def _resize(self, image: Tensor, table_grid: Grid, grid: Grid) -> Tensor:
        if not self.offset:
            return F.interpolate(
                image,
                size=grid,
                mode=self.mode,
                align_corners=self.align_corners,
                antialias=self.antialias,
            )
        factors = tuple((n + self.offset) / m for n, m in zip(grid, table_grid, strict=True))
        resized = F.interpolate(image, scale_factor=factors, mode=self.mode, align_corners=False)
        if tuple(resized.shape[-2:]) != tuple(grid):
            raise UserError(f"position table became {tuple(resized.shape[-2:])}, expected {grid}")
        return resized
