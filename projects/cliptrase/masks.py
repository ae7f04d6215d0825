"""From cluster numbers of patches to masks of pixels (sections 4.2, 4.3; equations 5, 6).

Letters: N = h * w patches, K clusters.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .median import median_filter


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
