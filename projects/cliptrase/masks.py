"""From cluster numbers of patches to masks of pixels (sections 4.2, 4.3; equations 5, 6).

Letters: N = h * w patches, K clusters.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def prototypes(matrix: Tensor, labels: Tensor) -> Tensor:
    """Average the rows of each cluster (equation 5).

    Args:
        matrix: (N, N) denoised correlation.
        labels: (N,) cluster numbers 0..K-1, -1 for noise, which enters no prototype.

    Returns:
        (K, N).
    """
    count = int(labels.max()) + 1 if labels.numel() else 0
    member = (labels == torch.arange(count, device=labels.device).unsqueeze(1)).to(matrix.dtype)
    return (member @ matrix) / member.sum(dim=1, keepdim=True)


def smooth_maps(rows: Tensor, grid: tuple[int, int], *, up: int = 4, median: int = 7) -> Tensor:
    """Upsample prototypes and smooth their edges with a median filter.

    Args:
        rows: (K, N) prototypes.
        grid: (h, w).
        up: factor of the bilinear upsampling.
        median: odd side of the median window; the released code takes 2 * up - 1.

    Returns:
        (K, up * h, up * w).
    """
    maps = rows.view(1, len(rows), *grid)
    if up > 1:
        maps = F.interpolate(maps, scale_factor=up, mode="bilinear", align_corners=False)
    return median_filter(maps[0], median)


def median_filter(maps: Tensor, side: int) -> Tensor:
    """Median in a square window, with the border repeated edge first (d c b a | a b c d | d c b a).

    Args:
        maps: (K, H, W).
        side: odd window side.

    Returns:
        (K, H, W).
    """
    if side == 1:
        return maps
    radius = side // 2
    rows, columns = (_mirrored(n, radius, maps.device) for n in maps.shape[-2:])
    padded = maps[:, rows][:, :, columns]
    windows = padded.unfold(1, side, 1).unfold(2, side, 1).flatten(3)
    return windows.median(dim=-1).values


def _mirrored(count: int, radius: int, device: torch.device) -> Tensor:
    index = torch.arange(-radius, count + radius, device=device) % (2 * count)
    return torch.minimum(index, 2 * count - 1 - index)
