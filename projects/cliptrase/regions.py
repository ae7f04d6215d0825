"""Clusters of patches and their smoothed maps: everything about regions that needs no words.

Paper sections 4.2 and 4.3. Letters: N = h * w patches, K clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ovs_core.errors import UserError, check_choice

from .correlation import denoise, eq7_score
from .dbscan import NOISE, dbscan
from .masks import prototypes, smooth_maps

TARGETS = ("correlation", "features")


@dataclass(frozen=True)
class RegionRule:
    """How regions are found.

    Attributes:
        eps: DBSCAN's neighbour distance.
        min_samples: DBSCAN's neighbours of a core point.
        denoise: ``cls_subtract`` (released), ``eq7`` (as printed) or ``none``.
        normalize: whether rows are brought to unit length before clustering (equation 4; the
            released code does not).
        target: what is clustered, rows of the ``correlation`` or unit patch ``features`` (Table 2,
            "p" and "f").
        up: upsampling of the prototypes before the median filter.
        median: side of the median window.
    """

    eps: float = 0.7
    min_samples: int = 3
    denoise: str = "cls_subtract"
    normalize: bool = False
    target: str = "correlation"
    up: int = 4
    median: int = 7

    def __post_init__(self) -> None:
        """Refuse values that mean nothing.

        Raises:
            UserError: for a value outside its range.
        """
        check_choice("MODEL.CLIPTRASE.CLUSTER.TARGET", self.target, TARGETS)
        if self.eps <= 0 or self.min_samples < 1:
            raise UserError(
                "MODEL.CLIPTRASE.CLUSTER: EPS must be positive and MIN_SAMPLES at least 1, but got "
                f"{self.eps} and {self.min_samples}"
            )
        if self.up < 1 or self.median < 1 or self.median % 2 == 0:
            raise UserError(
                "MODEL.CLIPTRASE.MASK: UP must be at least 1 and MEDIAN odd, but got "
                f"{self.up} and {self.median}"
            )


@dataclass(frozen=True)
class Regions:
    """The regions of a picture.

    Attributes:
        labels: (N,) cluster of each patch, -1 for noise.
        maps: (K, up * h, up * w) smoothed prototypes; the largest one owns a pixel.
    """

    labels: Tensor
    maps: Tensor

    @property
    def count(self) -> int:
        """Number of clusters K; 0 if all patches are noise."""
        return len(self.maps)


def cluster(denoised: Tensor, rule: RegionRule, features: Tensor | None = None) -> Tensor:
    """Group patches.

    Args:
        denoised: (N, N) matrix D, see ``correlation.denoise``.
        rule: parameters.
        features: (N, D) patch features, needed for ``target="features"``.

    Returns:
        (N,) int64, -1 for noise.
    """
    points = denoised
    if rule.target == "features":
        if features is None:
            raise ValueError("clustering features needs the features")
        points = F.normalize(features, dim=-1)
    elif rule.normalize:
        points = F.normalize(denoised, dim=-1)
    if rule.denoise != "eq7":
        return dbscan(points, eps=rule.eps, min_samples=rule.min_samples)
    # The paper clusters, drops the patches of equation 7, and clusters the others again; only the
    # second result is used. What was dropped counts as noise.
    kept = eq7_score(denoised) <= 0
    labels = torch.full((len(points),), NOISE, dtype=torch.int64, device=points.device)
    labels[kept] = dbscan(points[kept], eps=rule.eps, min_samples=rule.min_samples)
    return labels


def find_regions(
    matrix: Tensor, grid: tuple[int, int], rule: RegionRule, *, features: Tensor | None = None
) -> Regions:
    """Find the regions of a picture.

    Args:
        matrix: (1 + N, 1 + N) correlation, CLS first.
        grid: (h, w).
        rule: parameters.
        features: (N, D) patch features, needed for ``target="features"``.

    Returns:
        Clusters and maps; no map if every patch is noise.
    """
    denoised = denoise(matrix, rule.denoise)
    labels = cluster(denoised, rule, features)
    rows = prototypes(denoised, labels)
    if not len(rows):
        return Regions(labels, denoised.new_zeros(0, *grid))
    return Regions(labels, smooth_maps(rows, grid, up=rule.up, median=rule.median))
