"""DBSCAN against scikit-learn, and its rules one by one."""

import numpy as np
import pytest
import torch
from sklearn.cluster import DBSCAN

from cliptrase.dbscan import dbscan, neighbours


def reference(points, eps, min_samples):
    return DBSCAN(eps=eps, min_samples=min_samples).fit_predict(points)


@pytest.mark.parametrize("seed", range(60))
def test_equals_scikit_learn_on_random_points(seed):
    rng = np.random.default_rng(seed)
    count, width = int(rng.integers(1, 90)), int(rng.integers(1, 12))
    centres = rng.normal(size=(int(rng.integers(1, 6)), width))
    points = centres[rng.integers(len(centres), size=count)] + 0.3 * rng.normal(size=(count, width))
    points = points.astype(np.float32)
    eps, min_samples = float(rng.uniform(0.1, 1.2)), int(rng.integers(1, 8))
    ours = dbscan(torch.from_numpy(points), eps=eps, min_samples=min_samples).numpy()
    assert (ours == reference(points, eps, min_samples)).all()


def test_random_cases_hold_border_points():
    """The comparison above would be weak if no border point occurred in it."""
    points = np.array([[0.0], [0.1], [0.2], [0.3], [0.4], [0.85], [2.0]], dtype=np.float32)
    ours = dbscan(torch.from_numpy(points), eps=0.5, min_samples=4).numpy()
    assert (ours == reference(points, 0.5, 4)).all()
    assert ours.tolist() == [0, 0, 0, 0, 0, 0, -1]


def test_a_long_chain_is_one_cluster():
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    labels = dbscan(order.float()[:, None], eps=1.0, min_samples=2)
    assert labels.eq(0).all()


@pytest.mark.parametrize(("eps", "min_samples", "expected"), [(0.1, 3, {-1}), (99.0, 3, {0})])
def test_all_noise_and_one_cluster(eps, min_samples, expected):
    points = torch.randn(40, 5, generator=torch.Generator().manual_seed(1))
    assert set(dbscan(points, eps=eps, min_samples=min_samples).tolist()) == expected


def test_every_point_is_its_own_neighbour():
    points = torch.rand(30, 441, generator=torch.Generator().manual_seed(2))
    assert neighbours(points, 1e-9).diagonal().all()
