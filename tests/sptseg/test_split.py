"""Seen and unseen classes."""

import pytest
import torch

from ovs_core.errors import UserError
from ovs_core.words.label_space import IGNORE, UNSEEN
from sptseg.split import TrainedSplit

NAMES = ["a", "b", "c", "d"]


def test_labels_by_mode():
    split = TrainedSplit.from_unseen([1], 4)
    labels = torch.tensor([[[0, 1, 2, 3, IGNORE]]])
    assert split.map_labels(labels, "inductive").tolist() == [[[0, UNSEEN, 1, 2, IGNORE]]]
    assert split.map_labels(labels, "transductive").tolist() == [[[0, UNSEEN, 2, 3, IGNORE]]]
    assert split.map_labels(labels, "fully").tolist() == labels.tolist()
    assert split.trained_classes("inductive").tolist() == [0, 2, 3]
    assert split.trained_classes("fully").tolist() == [0, 1, 2, 3]


def test_pseudo_labels_are_unseen_classes_where_the_truth_is_unseen():
    split = TrainedSplit.from_unseen([1, 3], 4)
    logits = torch.zeros(1, 4, 2, 2)
    logits[0, 0] = 9.0  # a seen class never wins
    logits[0, 3, 0] = 1.0
    labels = torch.tensor([[[UNSEEN, 0], [UNSEEN, IGNORE]]])
    found = split.fill_unseen(labels, logits)
    assert found.tolist() == [[[3, 0], [1, IGNORE]]]  # a tie: the lowest


def test_sides_by_name():
    assert TrainedSplit.from_names(NAMES, [], ["c"]).seen == (0, 1, 3)
    assert TrainedSplit.from_names(NAMES, ["a", "d"], []).unseen == (1, 2)


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
        TrainedSplit.from_names(NAMES, seen, unseen)
