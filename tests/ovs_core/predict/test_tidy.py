"""Small islands are taken out of label maps, and what is not small stays as it is."""

import numpy as np
import pytest
from scipy import ndimage

from ovs_core.errors import UserError
from ovs_core.predict.predictor import Predictor
from ovs_core.predict.rules import Rules
from ovs_core.predict.tidy import absorb_islands, drop_segments

MAP = np.array(
    [
        [0, 0, 0, 0, 1, 1],
        [0, 2, 0, 0, 1, 1],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 1, 1],
    ],
    np.int32,
)


def islands(labels):
    """Area of every island."""
    found = []
    for value in np.unique(labels):
        numbers, count = ndimage.label(labels == value)
        found += [int((numbers == number).sum()) for number in range(1, count + 1)]
    return found


def test_islands_get_the_label_around_them():
    tidy = absorb_islands(MAP, 2 / 24)
    wanted = MAP.copy()
    wanted[1, 1], wanted[2, 5] = 0, 1
    assert np.array_equal(tidy, wanted) and tidy.dtype == MAP.dtype


@pytest.mark.parametrize("share", [0, 1 / 24])
def test_what_is_large_enough_stays(share):
    assert absorb_islands(MAP, share) is MAP


def test_where_all_is_small_nothing_is_taken_out():
    board = np.indices((6, 6)).sum(0) % 2
    assert absorb_islands(board, 0.5) is board


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_no_small_island_is_left(share):
    """One that was small may join a large one; what is left was large before, so it only grows."""
    noise = np.random.default_rng(0).normal(size=(60, 80, 4))
    labels = ndimage.gaussian_filter(noise, (4, 4, 0)).argmax(-1)
    assert min(islands(labels)) < share * labels.size
    tidy = absorb_islands(labels, share)
    assert min(islands(tidy)) >= share * labels.size
    large = absorb_islands(labels, share) == labels
    assert large.mean() > 0.3


def test_small_segments_of_a_panoptic_result_are_dropped():
    ids = np.array([[1, 1, 1, 4], [1, 1, 1, 0]], np.int32)
    info = [{"id": 1, "category_id": 0}, {"id": 4, "category_id": 1}]
    kept_ids, kept = drop_segments(ids, info, 0.2)
    assert kept == info[:1]
    assert np.array_equal(kept_ids, np.where(ids == 1, 1, 0))
    same, all_of_them = drop_segments(ids, info, 0.1)
    assert np.array_equal(same, ids) and all_of_them == info


def test_a_predictor_takes_islands_out_and_says_so(random_model, predictor):
    picture = np.random.default_rng(1).integers(0, 255, (48, 72, 3), dtype=np.uint8)
    words = "car, tree, sky, sea"
    before = predictor(picture, words)
    assert min(islands(before.labels)) < 0.02 * before.labels.size
    tidy = Predictor(random_model, config="first", rules=Rules(min_area=0.02))(picture, words)
    assert np.array_equal(tidy.labels, absorb_islands(before.labels, 0.02))
    # Another result, which is made anew where the other one stands.
    assert tidy.made_with["config"] != before.made_with["config"]


@pytest.mark.parametrize("share", [-0.1, 1, float("nan")])
def test_what_is_no_share_is_refused(random_model, share):
    with pytest.raises(UserError, match="min_area .*is a share of the picture"):
        Predictor(random_model, rules=Rules(min_area=share))
