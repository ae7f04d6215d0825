"""DBSCAN as matrix operations: exact, without scikit-learn, and on the tensor's own device."""

from __future__ import annotations

import torch
from torch import Tensor

NOISE = -1


def dbscan(points: Tensor, *, eps: float, min_samples: int) -> Tensor:
    """Cluster points by density; labels equal scikit-learn's.

    A point with at least ``min_samples`` points (itself included) within ``eps`` is a core point.
    Clusters are the connected components of core points, numbered by their smallest index. A point
    that is no core but has core neighbours joins the lowest-numbered of their clusters.

    Args:
        points: (N, F).
        eps: largest Euclidean distance of neighbours.
        min_samples: neighbours that make a core point.

    Returns:
        (N,) int64 cluster numbers, -1 for noise.
    """
    near = neighbours(points, eps)
    core = near.sum(dim=1) >= min_samples
    root = _components(near & core & core.unsqueeze(1))
    labels = torch.full_like(root, NOISE)
    roots, numbers = torch.unique(root[core], return_inverse=True)  # sorted: by smallest core index
    labels[core] = numbers
    # Borders: the smallest number among the core neighbours.
    none = len(roots)
    candidates = torch.where(near & core, labels, none).amin(dim=1)
    return torch.where(~core & (candidates < none), candidates, labels)


def neighbours(points: Tensor, eps: float) -> Tensor:
    """Tell which points lie within ``eps`` of each other.

    Squared distances come from the Gram matrix in double precision, because in single precision a
    pair close to ``eps`` may flip.

    Args:
        points: (N, F).
        eps: largest distance.

    Returns:
        (N, N) bool, True on the diagonal.
    """
    x = points.double()
    gram = x @ x.T
    squares = gram.diagonal()
    near = squares.unsqueeze(1) + squares - 2 * gram <= eps * eps
    return near.fill_diagonal_(True)


def _components(adjacency: Tensor) -> Tensor:
    """Give each node the smallest index of its connected component.

    Args:
        adjacency: (N, N) symmetric bool.

    Returns:
        (N,) int64.
    """
    count = len(adjacency)
    root = torch.arange(count, device=adjacency.device)
    while True:
        # A node learns the lowest root next to it, its root is hooked there, and paths are halved.
        lowest = torch.where(adjacency, root, count).amin(dim=1).minimum(root)
        hooked = root.scatter_reduce(0, root, lowest, "amin").minimum(lowest)
        shorter = hooked[hooked]
        if torch.equal(shorter, root):
            return root
        root = shorter
