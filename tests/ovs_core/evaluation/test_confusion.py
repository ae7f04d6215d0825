import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ovs_core.evaluation.confusion import (
    count_pairs,
    harmonic_mean,
    semseg_figures,
    smoothed_figures,
    split_figures,
)


@settings(max_examples=50, deadline=None)
@given(
    num_classes=st.integers(1, 40),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    kinds=st.tuples(*[st.sampled_from([torch.int16, torch.int32, torch.int64])] * 2),
    seed=st.integers(0, 2**31),
)
def test_counts_equal_a_loop(num_classes, size, kinds, seed):
    rng = np.random.default_rng(seed)
    prediction, truth = rng.integers(0, num_classes + 1, (2, *size))
    expected = np.zeros((num_classes + 1,) * 2, dtype=int)
    np.add.at(expected, (prediction, truth), 1)
    pair = (
        torch.from_numpy(x).to(kind) for x, kind in zip((prediction, truth), kinds, strict=True)
    )
    assert np.array_equal(count_pairs(*pair, num_classes).numpy(), expected)


def test_counting_leaves_its_input_alone():
    prediction = torch.tensor([[0, 1]], dtype=torch.int32)
    count_pairs(prediction, torch.tensor([[1, 1]]), 2)
    assert prediction.tolist() == [[0, 1]]


def test_index_beyond_32_bits():
    side = 46_342
    pair = torch.tensor([[side - 1]], dtype=torch.int32)
    seen = []
    with pytest.MonkeyPatch.context() as patch:  # the matrix itself would take 17 GB
        patch.setattr(torch, "bincount", lambda index, minlength: seen.append(index) or pair)
        with pytest.raises(RuntimeError, match="invalid for input of size"):
            count_pairs(pair, pair, side - 1)
    assert seen[0].tolist() == [side * side - 1]


def test_hand_made_example():
    # Class 0: 3 of 4 pixels found; class 1: 1 of 2, one pixel of class 0 taken; class 2: absent
    # from the truth, predicted on one pixel of class 1; class 3: neither.
    counts = np.zeros((5, 5), dtype=np.int64)
    counts[0, 0], counts[1, 0], counts[1, 1], counts[2, 1] = 3, 1, 1, 1
    counts[0, 4] = 7  # ignored pixels count nowhere
    figures = semseg_figures(counts)
    iou = [100 * 3 / 4, 100 * 1 / 3]
    assert figures.iou[:2] == pytest.approx(iou) and np.isnan(figures.iou[2:]).all()
    assert figures.iou_union[2] == 0 and np.isnan(figures.iou_union[3])
    assert figures.miou == pytest.approx(sum(iou) / 2)
    assert figures.miou_union == pytest.approx(sum(iou) / 3)
    assert figures.macc == pytest.approx(100 * (3 / 4 + 1 / 2) / 2)
    assert figures.pacc == pytest.approx(100 * 4 / 6)
    assert figures.fwiou == pytest.approx(4 / 6 * iou[0] + 2 / 6 * iou[1])
    assert (figures.absent, figures.zero) == (2, 0)


def test_no_valid_pixel():
    counts = np.zeros((3, 3), dtype=np.int64)
    counts[0, 2] = 5
    figures = semseg_figures(counts)
    assert np.isnan([figures.miou, figures.macc, figures.pacc]).all()
    assert figures.fwiou == 0


def test_class_with_truth_and_no_right_pixel_counts_as_zero():
    counts = np.zeros((3, 3), dtype=np.int64)
    counts[0, 0] = counts[0, 1] = 2
    figures = semseg_figures(counts)
    assert figures.iou.tolist() == [50, 0] and figures.miou == 25 and figures.zero == 1


def test_split_by_both_rules():
    counts = np.zeros((4, 4), dtype=np.int64)
    counts[0, 0], counts[2, 0], counts[1, 1] = 1, 1, 1  # class 2 is predicted but absent
    split = split_figures(semseg_figures(counts), seen=[0], unseen=[1, 2])
    assert split["mIoU_S"] == split["mIoU_S_gt"] == 50
    assert split["mIoU_U"] == 50 and split["mIoU_U_gt"] == 100
    assert split["hIoU"] == 50 and split["hIoU_gt"] == pytest.approx(200 / 3)


@pytest.mark.parametrize(
    ("pair", "mean"), [((0, 0), 0), ((0, 5), 0), ((40, 40), 40), ((30, 60), 40)]
)
def test_harmonic_mean(pair, mean):
    assert harmonic_mean(*pair) == mean


def test_smoothed_figures():
    counts = np.zeros((4, 4), dtype=np.int64)
    counts[0, 0], counts[1, 0] = 3, 1  # classes 1 and 2 have no truth
    figures = smoothed_figures(counts)
    assert figures["mACC"] == pytest.approx(100 * 3 / 4.01 / 3)  # absent classes count as 0
    assert figures["mIoU"] == pytest.approx(100 * 3 / 4.01)
    assert figures["pACC"] == 75
