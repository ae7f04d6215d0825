"""Seen and unseen classes."""

import pytest
import torch

from ovs_core.errors import UserError
from sptseg.split import ClassSplit

NAMES = ["a", "b", "c", "d"]


def test_labels_by_mode():
    split = ClassSplit.from_unseen([1], 4)
    labels = torch.tensor([[[0, 1, 2, 3, 255]]])
    assert split.map_labels(labels, "inductive").tolist() == [[[0, -1, 1, 2, 255]]]
    assert split.map_labels(labels, "transductive").tolist() == [[[0, -1, 2, 3, 255]]]
    assert split.map_labels(labels, "fully").tolist() == labels.tolist()
    assert split.trained_classes("inductive").tolist() == [0, 2, 3]
    assert split.trained_classes("fully").tolist() == [0, 1, 2, 3]


def test_pseudo_labels_are_unseen_classes_where_the_truth_is_unseen():
    split = ClassSplit.from_unseen([1, 3], 4)
    logits = torch.zeros(1, 4, 2, 2)
    logits[0, 0] = 9.0  # a seen class never wins
    logits[0, 3, 0] = 1.0
    labels = torch.tensor([[[-1, 0], [-1, 255]]])
    assert split.fill_unseen(labels, logits).tolist() == [[[3, 0], [1, 255]]]  # a tie: the lowest


def test_sides_by_name():
    assert ClassSplit.from_names(NAMES, [], ["c"]).seen == (0, 1, 3)
    assert ClassSplit.from_names(NAMES, ["a", "d"], []).unseen == (1, 2)


@pytest.mark.parametrize(
    "seen, unseen, message",
    [
        (["a", "b", "c"], ["c", "d"], r"\['c'\] on both sides"),
        (["a"], ["c", "d"], r"\['b'\] on neither"),
        (["a", "bb"], [], "no class 'bb'. Did you mean 'b'"),
        ([], ["a", "b", "c", "d"], "no class is seen|on both sides"),
    ],
)
def test_wrong_sides(seen, unseen, message):
    with pytest.raises(UserError, match=message):
        ClassSplit.from_names(NAMES, seen, unseen)


@pytest.mark.parametrize(
    "seen, unseen, message",
    [
        ((0, 1), (1, 2), r"\[1\] are both"),
        ((0, 1), (3,), r"\[2\] are missing"),
        ((), (0,), "no class is seen"),
    ],
)
def test_wrong_indices(seen, unseen, message):
    with pytest.raises(UserError, match=message):
        ClassSplit(seen, unseen)


def test_an_unseen_class_that_does_not_exist():
    with pytest.raises(UserError, match=r"unseen classes \[7\] do not exist among 4"):
        ClassSplit.from_unseen([7], 4)


def test_a_label_out_of_range():
    with pytest.raises(UserError, match="label 4 is neither one of the 4 classes nor 255"):
        ClassSplit.from_unseen([1], 4).map_labels(torch.tensor([[[4]]]), "inductive")
