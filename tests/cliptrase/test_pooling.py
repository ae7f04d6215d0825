"""Pooling, k-means, matching, query starts."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from cliptrase.pooling import mask_average_pool, masks_on_grid, spherical_kmeans
from cliptrase.query_init import make_queries, save_queries
from cliptrase.unsupervised import collect, evaluate_clusters, match_clusters
from ovs_core.errors import UserError
from ovs_core.words.label_space import IGNORE
from tests.cliptrase.helpers import blocky_picture, build_model


def test_pooling_is_the_mean_inside_a_mask():
    features = torch.randn(5, 4, 6, generator=torch.Generator().manual_seed(0))
    masks = torch.zeros(3, 4, 6)
    masks[0, :2], masks[1, 2:] = 1, 1
    pooled = mask_average_pool(features, masks)
    assert torch.allclose(pooled[0], features[:, :2].mean(dim=(1, 2)), atol=1e-6)
    assert torch.allclose(pooled[1], features[:, 2:].mean(dim=(1, 2)), atol=1e-6)
    assert pooled[2].eq(0).all()


def test_masks_on_the_grid_share_out_cells():
    masks = torch.zeros(8, 12, dtype=torch.int64)
    masks[:, 7:] = 1
    shares = masks_on_grid(masks, 2, (2, 3))
    assert torch.allclose(shares.sum(0), torch.ones(2, 3))
    assert shares[1, 0].tolist() == [0.0, 0.25, 1.0]


def test_kmeans_finds_separate_directions():
    generator = torch.Generator().manual_seed(0)
    centres = F.normalize(torch.randn(6, 16, generator=generator), dim=-1)
    truth = torch.arange(120) % 6
    vectors = centres[truth] + 0.02 * torch.randn(120, 16, generator=generator)
    _, assigned = spherical_kmeans(vectors * 7, 6)
    pairs = {(int(a), int(b)) for a, b in zip(truth, assigned, strict=True)}
    assert len(pairs) == 6


def test_kmeans_leaves_no_cluster_empty():
    vectors = torch.ones(10, 3)
    vectors[0] = torch.tensor([1.0, -1.0, 0.0])
    _, assigned = spherical_kmeans(vectors, 4)
    assert len(assigned.unique()) == 4


def test_matching_is_the_best_one_to_one():
    # Cluster 0 holds class 1, cluster 1 holds class 0, cluster 2 has no class left.
    counts = np.zeros((4, 4), dtype=np.int64)
    counts[0, 1], counts[1, 0], counts[2, 0] = 50, 30, 10
    figures, matched = match_clusters(counts, 3, 2)
    assert matched.tolist() == [1, 0, -1]
    assert figures.iou == pytest.approx([75.0, 100.0])
    assert figures.pacc == pytest.approx(100 * 80 / 90)


def test_unsupervised_scoring_end_to_end(clip):
    model = build_model(clip)
    samples = []
    for seed in range(3):
        picture = blocky_picture(56, 64, seed)
        truth = np.zeros((56, 64), dtype=np.int64)
        truth[:, 32:] = 1
        truth[:2] = IGNORE
        samples.append(({"image": picture}, truth))
    pictures = collect(model, samples, num_classes=2)
    figures, matched = evaluate_clusters(pictures, 2)
    assert sorted(matched.tolist()) == [0, 1]
    assert 0 < figures.miou <= 100
    with pytest.raises(UserError, match="too few for 500 clusters"):
        evaluate_clusters(pictures, 2, clusters=500)


@pytest.mark.parametrize("projection", ["pca", "orthogonal"])
def test_queries_have_sans_shape_and_scale(projection, tmp_path):
    features = torch.randn(150, 64, generator=torch.Generator().manual_seed(0))
    queries = make_queries(features, queries=20, width=32, projection=projection)
    assert queries.shape == (1, 20, 32)
    assert float(queries.std()) == pytest.approx(0.02, rel=1e-4)
    again = make_queries(features, queries=20, width=32, projection=projection)
    assert torch.equal(queries, again)
    save_queries(queries, tmp_path / "q.safetensors")
    assert torch.equal(load_file(tmp_path / "q.safetensors")["query_embed"], queries)


def test_impossible_queries_are_refused():
    features = torch.randn(10, 16)
    with pytest.raises(UserError, match="too few for 100 queries"):
        make_queries(features)
    with pytest.raises(UserError, match="larger than CLIP's joint width"):
        make_queries(features, queries=4, width=17)
    with pytest.raises(UserError, match="Did you mean 'pca'"):
        make_queries(features, queries=4, width=4, projection="pcs")
