"""Mask average pooling and k-means on unit vectors, for regions without words.

Letters: K masks, N = h * w patches, D feature width, M vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def mask_average_pool(features: Tensor, masks: Tensor) -> Tensor:
    """Average features over masks.

    Args:
        features: (D, h, w).
        masks: (K, h, w) non-negative weights; a mask of zeros gives zeros.

    Returns:
        (K, D).
    """
    weights = masks.flatten(1).to(features.dtype)
    sums = weights @ features.flatten(1).T
    return sums / weights.sum(dim=1, keepdim=True).clamp_min(torch.finfo(sums.dtype).tiny)


def masks_on_grid(masks: Tensor, count: int, grid: tuple[int, int]) -> Tensor:
    """Give the share of each grid cell that each mask covers.

    Args:
        masks: (H, W) mask number of each pixel.
        count: K.
        grid: (h, w).

    Returns:
        (K, h, w), sums to 1 over masks.
    """
    indicator = F.one_hot(masks, count).permute(2, 0, 1).float()
    return F.adaptive_avg_pool2d(indicator[None], grid)[0]


def spherical_kmeans(
    vectors: Tensor, clusters: int, *, seed: int = 0, rounds: int = 100
) -> tuple[Tensor, Tensor]:
    """Cluster unit vectors by cosine.

    Starts from k-means++ choices; stops when no vector changes its cluster. A cluster that loses
    all its vectors takes the one that fits its own centre worst.

    Args:
        vectors: (M, D), brought to unit length.
        clusters: number of clusters; at most M.
        seed: of the starting centres.
        rounds: most iterations.

    Returns:
        (clusters, D) unit centres and (M,) cluster of each vector.

    Raises:
        ValueError: if there are fewer vectors than clusters.
    """
    if len(vectors) < clusters:
        raise ValueError(f"{len(vectors)} vectors cannot make {clusters} clusters")
    units = F.normalize(vectors, dim=-1)
    centres = _first_centres(units, clusters, seed)
    assigned = torch.full((len(units),), -1, device=units.device)
    for _ in range(rounds):
        similarity, nearest = (units @ centres.T).max(dim=1)
        counts = torch.bincount(nearest, minlength=clusters)
        for empty in (counts == 0).nonzero()[:, 0].tolist():
            movable = counts[nearest] > 1
            worst = int(similarity.masked_fill(~movable, torch.inf).argmin())
            counts[nearest[worst]] -= 1
            nearest[worst], counts[empty] = empty, 1
        if torch.equal(nearest, assigned):
            break
        assigned = nearest
        sums = torch.zeros_like(centres).index_add_(0, assigned, units)
        centres = F.normalize(sums, dim=-1)
    return centres, assigned


def _first_centres(units: Tensor, clusters: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    chosen = [int(torch.randint(len(units), (1,), generator=generator))]
    far = torch.ones(len(units), device=units.device)
    for _ in range(clusters - 1):
        # Squared distance of unit vectors is 2 - 2 cos; the factor does not matter here.
        far = torch.minimum(far, (1 - units @ units[chosen[-1]]).clamp_min(0))
        far[chosen] = 0
        weights = far.cpu() if float(far.sum()) > 0 else _unchosen(len(units), chosen)
        chosen.append(int(torch.multinomial(weights, 1, generator=generator)))
    return units[chosen].clone()


def _unchosen(count: int, chosen: list[int]) -> Tensor:
    weights = torch.ones(count)
    weights[chosen] = 0
    return weights
