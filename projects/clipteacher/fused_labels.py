"""Labels of seen and potential classes together, and the centroids of their features (eq. 6-7).

Seen classes are 0..N-1. Potential ones follow, picture after picture: the same thing in two
pictures is two classes. Ids pass 255, so pixels without a class are -1, never 255.

Letters: B pictures, C channels, H x W token grid, h x w student grid, Y x X labels, N seen and G
potential classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ovs_core.modeling.scores import size_of

NO_CLASS = -1  # ids of potential classes have no bound that a larger number could keep to


@dataclass(frozen=True)
class FusedLabels:
    """Labels at both sizes.

    Attributes:
        full: (B, Y, X) int64 ids, -1 without one.
        small: (B, h, w) the same on the student grid.
        kept: (B,) potential classes of each picture; their sum is G.
    """

    full: Tensor
    small: Tensor
    kept: Tensor


def sample_nearest(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize without mixing values: output d reads input floor((d + 0.5) * n_in / n_out).

    Args:
        maps: (..., H, W) of any type.
        size: (H', W').

    Returns:
        (..., H', W').
    """
    rows, columns = (
        ((2 * torch.arange(new, device=maps.device) + 1) * old) // (2 * new)
        for new, old in zip(size, maps.shape[-2:], strict=True)
    )
    return maps[..., rows[:, None], columns]


def fuse_labels(
    labels: Tensor, padding: Tensor, groups: Tensor, *, seen: int, student_grid: tuple[int, int]
) -> FusedLabels:
    """Write potential objects into the unannotated pixels.

    Args:
        labels: (B, Y, X) seen ids, -1 for unannotated.
        padding: (B, Y, X) bool; stays -1.
        groups: (B, H, W) potential objects of each picture, -1 for none.
        seen: N.
        student_grid: (h, w); a group without a cell there is dropped.
    """
    per_picture = groups.flatten(1).amax(dim=1) + 1
    offsets = (per_picture.cumsum(0) - per_picture)[:, None, None]
    ids = torch.where(groups < 0, NO_CLASS, groups + offsets + seen)
    spread = sample_nearest(ids, size_of(labels))
    full = torch.where((labels < 0) & ~padding, spread, labels)
    small = sample_nearest(full, student_grid)
    visible = torch.zeros(seen + int(per_picture.sum()) + 1, dtype=torch.bool, device=full.device)
    visible[small.flatten() + 1] = True
    visible[: seen + 1] = True  # "no class" and the seen classes keep their numbers
    table = torch.where(visible, visible.long().cumsum(0) - 2, NO_CLASS)
    owner = torch.repeat_interleave(torch.arange(len(labels), device=full.device), per_picture)
    kept = torch.zeros_like(per_picture).index_add(0, owner, visible[seen + 1 :].long())
    return FusedLabels(full=table[full + 1], small=table[small + 1], kept=kept)


def class_centroids(dense: Tensor, small: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Mean student feature of every class of the batch (eq. 7); gradients flow.

    Args:
        dense: (B, C, h, w).
        small: (B, h, w) ids, -1 without one.
        classes: N + G.

    Returns:
        Ids (P,) of the classes that have a cell, ascending, and their means (P, C).
    """
    index = small.flatten()
    cells = dense.flatten(2).transpose(1, 2).flatten(0, 1)
    marked = index >= 0
    counts = torch.bincount(index[marked], minlength=classes)
    sums = cells.new_zeros(classes, cells.shape[1]).index_add(0, index[marked], cells[marked])
    ids = counts.nonzero().flatten()
    return ids, sums[ids] / counts[ids, None]
