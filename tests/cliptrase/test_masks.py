"""Prototypes, median filter, votes."""

import numpy as np
import pytest
import torch
from scipy.ndimage import median_filter as scipy_median
from torch.nn import functional as F

from cliptrase.masks import prototypes, smooth_maps
from cliptrase.median import median_filter
from cliptrase.views import Frame
from cliptrase.voting import RegionScores, majority_vote, mean_logits


@pytest.mark.parametrize(
    ("shape", "side"),
    [
        ((1, 1, 1), 3),
        ((2, 3, 5), 7),
        ((3, 28, 28), 7),
        ((2, 12, 9), 5),
        ((1, 20, 31), 9),
        ((2, 15, 14), 11),
        ((2, 4, 4), 1),
    ],
)
def test_median_equals_scipy(shape, side):
    # Rounded values make ties.
    maps = torch.randn(shape, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    expected = [scipy_median(m, side, mode="reflect") for m in maps.numpy()]
    assert torch.equal(median_filter(maps, side), torch.from_numpy(np.stack(expected)))


def test_noise_enters_no_prototype():
    matrix = torch.rand(5, 5, generator=torch.Generator().manual_seed(0))
    rows = prototypes(matrix, torch.tensor([0, -1, 1, 0, 1]))
    assert torch.allclose(rows, torch.stack([matrix[[0, 3]].mean(0), matrix[[2, 4]].mean(0)]))


def test_no_cluster_gives_no_prototype():
    assert prototypes(torch.rand(3, 3), torch.full((3,), -1)).shape == (0, 3)


def test_smooth_maps_keep_flat_maps():
    assert smooth_maps(torch.ones(2, 12), (3, 4)).eq(1).all()


def test_majority_prefers_the_smaller_label_on_a_tie():
    labels = torch.tensor([[3, 1, 1, 3], [2, 2, 0, 2]])
    masks = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1]])
    voted = majority_vote(labels, masks, num_classes=5, num_masks=3)
    assert voted.tolist() == [[1, 1, 1, 1], [2, 2, 2, 2]]


def test_vote_gives_labels_that_occur_in_the_mask():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(9, (40, 50), generator=generator)
    masks = torch.randint(6, (40, 50), generator=generator)
    voted = majority_vote(labels, masks, num_classes=9, num_masks=6)
    for mask in range(6):
        inside = voted[masks == mask].unique()
        assert len(inside) == 1
        assert inside[0] in labels[masks == mask]


@pytest.mark.parametrize(
    "frame", [Frame(), Frame((64, 96), (64, 96)), Frame((64, 96), (60, 70))], ids=str
)
def test_mean_logits_equal_the_mean_of_upsampled_logits(frame):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 4, 6, generator=generator)
    size = (37, 53)
    masks = torch.randint(5, size, generator=generator)
    rows, columns = (
        frame.matrix(n, side, axis, like=logits)
        for axis, (n, side) in enumerate(zip((4, 6), size, strict=True))
    )
    ours = mean_logits(logits, masks, num_masks=6, rows=rows, columns=columns)
    full = frame.scores(logits, size).full()
    for mask in range(5):
        assert torch.allclose(ours[mask], full[:, masks == mask].mean(dim=1), atol=1e-5)
    assert ours[5].eq(0).all()


def test_region_scores_agree_with_themselves():
    scores = RegionScores(torch.randn(3, 4), torch.randint(3, (8, 9)))
    assert torch.equal(scores.full().argmax(0), scores.labels())
    assert torch.equal(scores.classes(slice(1, 3)), scores.full()[1:3])


def test_frame_matrix_is_the_interpolation():
    maps = torch.rand(1, 1, 5, 6)
    rows, columns = (Frame().matrix(n, s, a, like=maps) for n, s, a in ((5, 17, 0), (6, 23, 1)))
    expected = F.interpolate(maps, size=(17, 23), mode="bilinear")[0, 0]
    assert torch.allclose(rows @ maps[0, 0] @ columns.T, expected, atol=1e-6)
