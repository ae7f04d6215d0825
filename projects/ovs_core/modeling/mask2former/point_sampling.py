"""Comparing masks at random points instead of everywhere (PointRend, Mask2Former section 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..per_picture import uniform_of

# picture of each row, shape of a row, device -> uniform numbers in [0, 1), see ``uniform_of``;
# replaced in tests by recorded draws
Draw = Callable[[Sequence[int], tuple[int, ...], torch.device], Tensor]


def sample_points(maps: Tensor, points: Tensor) -> Tensor:
    """Sample maps bilinearly (half-pixel centres, zeros outside).

    Args:
        maps: (n, H, W).
        points: (n or 1, p, 2) as (x, y) in [0, 1].

    Returns:
        (n, p).
    """
    if len(points) == 1:  # shared points: one picture with n channels
        grid = points.unsqueeze(1) * 2 - 1
        return F.grid_sample(maps[None], grid, align_corners=False)[0, :, 0]
    grid = points.unsqueeze(1) * 2 - 1
    return F.grid_sample(maps[:, None], grid, align_corners=False)[:, 0, 0]


@torch.no_grad()
def uncertain_points(
    logits: Tensor,
    owners: Sequence[int],
    count: int,
    *,
    oversample: float,
    importance: float,
    draw: Draw = uniform_of,
) -> Tensor:
    """Choose points where the masks are undecided, and some anywhere.

    Args:
        logits: (n, H, W).
        owners: (n,) picture of each mask, ascending.
        count: points per mask.
        oversample: how many candidates per point.
        importance: share of the points taken from the candidates, those nearest to logit 0.
        draw: source of random numbers.

    Returns:
        (n, count, 2) as (x, y) in [0, 1].
    """
    device = logits.device
    candidates = draw(owners, (int(count * oversample), 2), device)
    chosen = int(importance * count)
    if len(logits):
        doubt = sample_points(logits, candidates).abs()
        nearest = doubt.topk(chosen, dim=1, largest=False).indices
        picked = candidates.gather(1, nearest[..., None].expand(-1, -1, 2))
    else:
        picked = candidates[:, :chosen]
    if chosen == count:
        return picked
    return torch.cat([picked, draw(owners, (count - chosen, 2), device)], dim=1)
