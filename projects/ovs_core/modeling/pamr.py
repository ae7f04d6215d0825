"""Pixel-adaptive mask refinement (PAMR), an optional last step of training-free methods.

Scores are averaged over dilated 3 x 3 neighbourhoods with weights that fall with the difference in
colour. Letters: B pictures, C score maps, n dilations, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

# Softness of the colour weights.
SPREAD = 0.1


def pamr(
    images: Tensor, scores: Tensor, *, steps: int, dilations: Sequence[int] = (8, 16)
) -> Tensor:
    """Refine score maps along the colours of a picture.

    Args:
        images: (B, 3, H, W).
        scores: (B, C, h, w); brought to H x W first if they differ.
        steps: number of weighted averages; 0 gives the scores back.
        dilations: distances of the neighbours.

    Returns:
        (B, C, H, W).
    """
    size = tuple(images.shape[-2:])
    if tuple(scores.shape[-2:]) != size:
        scores = F.interpolate(scores, size=size, mode="bilinear", align_corners=True)
    if not steps:
        return scores
    weights = _weights(images, dilations)
    for _ in range(steps):
        total = torch.zeros_like(scores)
        # One neighbour after the other: all of them together would not fit large maps.
        for place, neighbour in enumerate(_neighbours(scores, dilations)):
            total = total.addcmul_(neighbour, weights[:, :, place])
        scores = total
    return scores


def _weights(images: Tensor, dilations: Sequence[int]) -> Tensor:
    """(B, 1, 8 n, H, W) weights that sum to 1 over the neighbours."""
    around = torch.stack(list(_neighbours(images, dilations)), dim=2)
    # The spread is over the full 3 x 3 neighbourhoods of all dilations together, centres included.
    centres = images.unsqueeze(2).expand(-1, -1, len(dilations), -1, -1)
    spread = torch.cat([around, centres], dim=2).std(dim=2, keepdim=True)
    difference = (around - images.unsqueeze(2)).abs() / (1e-8 + SPREAD * spread)
    return torch.softmax(-difference.mean(dim=1, keepdim=True), dim=2)


def _neighbours(maps: Tensor, dilations: Sequence[int]) -> Iterator[Tensor]:
    """(B, C, H, W) -> 8 n times (B, C, H, W), the values of the 8 neighbours at each distance."""
    height, width = maps.shape[-2:]
    for distance in dilations:
        padded = F.pad(maps, (distance,) * 4, mode="replicate")
        for row in (0, distance, 2 * distance):
            for column in (0, distance, 2 * distance):
                if row == column == distance:
                    continue
                yield padded[..., row : row + height, column : column + width]
