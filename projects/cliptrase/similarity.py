"""CLIP-Surgery's pictures: where a word is found, and the points that would prompt a SAM there.

Letters: B pictures, K words, h x w patches, H x W picture, n points of a kind.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ovs_core.modeling.scores import Size, resize


def similarity_map(scores: Tensor, size: Size) -> Tensor:
    """Stretch each word's map to 0..1 over the patches and upsample it, for display.

    Args:
        scores: (B, K, h, w).
        size: (H, W).

    Returns:
        (B, K, H, W).
    """
    return resize(_stretched(scores), size)


def similarity_points(
    scores: Tensor, size: Size, *, threshold: float = 0.8
) -> tuple[Tensor, Tensor]:
    """Choose point prompts from a word's map: the best and as many of the worst cells.

    Args:
        scores: (h, w) scores of one word; the map is halved first.
        size: (H, W) of the picture.
        threshold: cells above this, after stretching to 0..1, are foreground; at most half of all.

    Returns:
        (2n, 2) integer x, y, foreground first, each in rising order of score; (2n,) 1 or 0.
    """
    small = (max(1, scores.shape[0] // 2), max(1, scores.shape[1] // 2))
    cells = _stretched(resize(scores[None], small))[0]
    order = cells.flatten().argsort(stable=True)
    count = min(int((cells >= threshold).sum()), cells.numel() // 2)
    chosen = torch.cat([order[len(order) - count :], order[:count]])
    columns, rows = chosen % small[1], chosen // small[1]
    x = ((columns + 0.5) * (size[1] / small[1])).clamp(max=size[1] - 1)
    y = ((rows + 0.5) * (size[0] / small[0])).clamp(max=size[0] - 1)
    labels = torch.cat([torch.ones(count), torch.zeros(count)]).long()
    return torch.stack([x, y], dim=1).long(), labels


def _stretched(maps: Tensor) -> Tensor:
    """Bring each map (..., h, w) to 0..1."""
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    return (maps - low) / (high - low)
