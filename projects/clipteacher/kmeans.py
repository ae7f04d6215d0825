"""K-means of teacher tokens on unannotated area, a batch of pictures at once (section 3.3).

Letters: B pictures, C channels, n tokens, K centres.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

DISTANCES = ("cosine", "euclidean")


@dataclass(frozen=True)
class Clusters:
    """K-means of a batch.

    Attributes:
        start: (B, K, C) window means, before any normalisation.
        usable: (B, K) bool, False for windows that are left out.
        centers: (B, K, C) final centres.
        assignment: (B, n) index of the centre of each token, -1 outside the ignored area.
        live: (B, K) bool, centres with at least one token.
    """

    start: Tensor
    usable: Tensor
    centers: Tensor
    assignment: Tensor
    live: Tensor


def kmeans(
    points: Tensor,
    inside: Tensor,
    start: Tensor,
    usable: Tensor,
    *,
    distance: str = "cosine",
    iterations: int = 10,
) -> Clusters:
    """Cluster the tokens of every picture.

    Args:
        points: (B, n, C) tokens.
        inside: (B, n) bool, tokens that take part.
        start: (B, K, C) first centres.
        usable: (B, K) bool, centres that take part.
        distance: ``cosine`` or ``euclidean``.
        iterations: most centre updates.
    """
    centers = start
    if distance == "cosine":
        points, centers = (F.normalize(t, dim=-1, eps=1e-12) for t in (points, centers))
    assignment = _assign(points, centers, usable, distance)
    for _ in range(iterations):
        centers = _update(points, centers, assignment, inside, distance)
        previous, assignment = assignment, _assign(points, centers, usable, distance)
        if torch.equal(previous[inside], assignment[inside]):
            break
    assignment = assignment.masked_fill(~inside, -1)
    live = _members(assignment, inside, start.shape[1]).any(dim=1)
    return Clusters(start, usable, centers, assignment, live)


def _assign(points: Tensor, centers: Tensor, usable: Tensor, distance: str) -> Tensor:
    """(B, n) nearest centre; the lowest index wins ties."""
    closeness = points @ centers.transpose(1, 2)
    if distance == "euclidean":
        closeness = 2 * closeness - centers.square().sum(dim=-1)[:, None]
    return closeness.masked_fill(~usable[:, None], float("-inf")).argmax(dim=-1)


def _update(
    points: Tensor, centers: Tensor, assignment: Tensor, inside: Tensor, distance: str
) -> Tensor:
    """(B, K, C) means of the tokens of each centre; one without tokens stays."""
    members = _members(assignment, inside, centers.shape[1]).to(points.dtype)
    counts = members.sum(dim=1)[..., None]
    means = members.transpose(1, 2) @ points / counts.clamp(min=1)
    if distance == "cosine":
        means = F.normalize(means, dim=-1, eps=1e-12)
    return torch.where(counts > 0, means, centers)


def _members(assignment: Tensor, inside: Tensor, count: int) -> Tensor:
    """(B, n, K) bool: which centre each token of the ignored area belongs to."""
    return F.one_hot(assignment.clamp(min=0), count).bool() & inside[..., None]
