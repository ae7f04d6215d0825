"""Masks from SAM: patches of a cluster become point prompts (section 4.4; no code was released).

Foreground points are the patch centres of a cluster, background points those of the others.
Denoising comes first, since one wrong point spoils a mask. Completions of ours: noise patches give
no points, points of a cluster may be thinned out, one mask per prompt, and pixels that no mask
claims keep the cluster that the prototypes give them. Letters: N = h * w patches, K clusters, P
points, H x W picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ovs_core.modeling.scores import Size, resize, size_of


class PointPredictor(Protocol):
    """What is needed of a SAM."""

    def set_image(self, image: np.ndarray) -> None:
        """Take an (H, W, 3) uint8 RGB picture."""

    def predict(
        self, coords: np.ndarray, labels: np.ndarray, multimask_output: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Segment by points.

        Args:
            coords: (P, 2) x, y in pixels of the picture.
            labels: (P,) 1 for foreground, 0 for background.
            multimask_output: whether several masks are given.

        Returns:
            (M, H, W) mask logits at the picture's size, (M,) scores, (M, h', w') small logits.
        """


@dataclass(frozen=True)
class SamMasks:
    """Masks of a SAM in place of those of the prototypes.

    Attributes:
        predictor: the SAM.
        max_points: most points per cluster; 0 for all.
    """

    predictor: PointPredictor
    max_points: int = 0

    def __call__(self, picture: Tensor, labels: Tensor, grid: Size, fallback: Tensor) -> Tensor:
        """Give each pixel its cluster.

        Args:
            picture: (3, H', W') RGB in 0..255.
            labels: (N,) cluster numbers, -1 for noise.
            grid: (h, w).
            fallback: (H, W) cluster of each pixel, used where no mask is positive.

        Returns:
            (H, W) int64 cluster of each pixel.
        """
        size = size_of(fallback)
        sized = resize(picture.cpu().float(), size)
        image = sized.round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
        points = cluster_points(labels, grid, size, limit=self.max_points)
        return sam_masks(self.predictor, image, points, fallback)


def cluster_points(
    labels: Tensor, grid: tuple[int, int], size: tuple[int, int], *, limit: int = 0
) -> list[np.ndarray]:
    """Give the patch centres of each cluster in pixels.

    Args:
        labels: (N,) cluster numbers, -1 for noise, which gives no points.
        grid: (h, w).
        size: (H, W).
        limit: at most so many points per cluster, evenly spread over its patches; 0 for all.

    Returns:
        K arrays (P_k, 2) of x, y.
    """
    index = torch.arange(len(labels), device=labels.device)
    x = (index % grid[1] + 0.5) * (size[1] / grid[1])
    y = (index // grid[1] + 0.5) * (size[0] / grid[0])
    centres = torch.stack([x, y], dim=1).cpu().numpy()
    numbers = labels.cpu().numpy()
    groups = [centres[numbers == k] for k in range(int(numbers.max(initial=-1)) + 1)]
    return [_thin(points, limit) for points in groups]


def sam_masks(
    predictor: PointPredictor,
    picture: np.ndarray,
    points: list[np.ndarray],
    fallback: Tensor,
) -> Tensor:
    """Segment a picture into clusters.

    Args:
        predictor: the SAM.
        picture: (H, W, 3) uint8 RGB.
        points: K arrays (P_k, 2), see ``cluster_points``.
        fallback: (H, W) cluster of each pixel, used where no mask is positive.

    Returns:
        (H, W) int64 cluster of each pixel.
    """
    predictor.set_image(picture)
    best = torch.zeros(fallback.shape)  # logit 0: the border of a mask
    masks = fallback.cpu().clone()
    for number, own in enumerate(points):
        others = [p for k, p in enumerate(points) if k != number]
        coords = np.concatenate([own, *others])
        labels = np.zeros(len(coords), dtype=np.int64)
        labels[: len(own)] = 1
        logits, _, _ = predictor.predict(coords, labels, multimask_output=False)
        logit = torch.from_numpy(np.asarray(logits[0], dtype=np.float32))
        wins = logit > best
        best[wins], masks[wins] = logit[wins], number
    return masks.to(fallback.device)


def _thin(points: np.ndarray, limit: int) -> np.ndarray:
    if not limit or len(points) <= limit:
        return points
    return points[np.linspace(0, len(points) - 1, limit).round().astype(int)]
