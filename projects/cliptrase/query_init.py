"""Starting values for the queries of mask-based models (supplement, figure 8).

The paper initialises SAN's query embedding with CLIP features pooled over CLIPtrase's masks, and
leaves open how many pictures give 100 queries and how the joint width becomes SAN's 240. Ours:
k-means over the unit pooled features of some pictures, a projection to the query width, the
published standard deviation. Letters: M regions, Q queries, D joint width, E query width.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ovs_core.errors import UserError, check_choice
from ovs_core.files.writing import save_safetensors

from .pooling import spherical_kmeans

PROJECTIONS = ("pca", "orthogonal")


def make_queries(
    features: Tensor,
    *,
    queries: int = 100,
    width: int = 240,
    projection: str = "pca",
    std: float = 0.02,
    seed: int = 0,
) -> Tensor:
    """Turn pooled features into query embeddings.

    Args:
        features: (M, D) pooled features, M >= Q.
        queries: Q (SAN: 100).
        width: E (SAN: 240); at most D.
        projection: ``pca`` of the Q centres, completed by random directions where Q centres span
            fewer than E; or a random ``orthogonal`` one.
        std: standard deviation of the result (SAN: 0.02).
        seed: of k-means and random directions.

    Returns:
        (1, Q, E).

    Raises:
        UserError: for too few regions, an unknown projection, or a width above D.
    """
    check_choice("projection", projection, PROJECTIONS)
    if len(features) < queries:
        raise UserError(
            f"{len(features)} regions are too few for {queries} queries; take more pictures"
        )
    if width > features.shape[1]:
        raise UserError(
            f"the query width {width} is larger than CLIP's joint width {features.shape[1]}"
        )
    centres, _ = spherical_kmeans(features.double(), queries, seed=seed)
    basis = _orthogonal(features.shape[1], seed)
    if projection == "pca":
        directions = torch.linalg.svd(centres - centres.mean(dim=0), full_matrices=False).Vh
        # The QR factor keeps the leading directions and completes them to a basis.
        basis = torch.linalg.qr(torch.cat([directions[: queries - 1].T, basis], dim=1)).Q
    projected = (centres - centres.mean(dim=0)) @ basis[:, :width]
    return (projected * (std / projected.std())).float().unsqueeze(0)


def save_queries(queries: Tensor, path: str | Path) -> None:
    """Write queries under the name ``query_embed``, as SAN calls them.

    Args:
        queries: (1, Q, E).
        path: ``.safetensors`` file.
    """
    save_safetensors(path, {"query_embed": queries.contiguous()})


def _orthogonal(size: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q
