"""What numbers in label maps mean."""

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog

from ovs_core.errors import UserError
from ovs_core.words.label_space import IGNORE, UNSEEN, ClassSplit, LabelSpace, label_space


@pytest.mark.parametrize(
    ("space", "stored", "expected"),
    [
        (LabelSpace(3), np.array([0, 2, 255], np.uint8), [0, 2, IGNORE]),
        (LabelSpace(3, 254), np.array([0, 2, 254], np.uint8), [0, 2, IGNORE]),
        (LabelSpace(300, 65535), np.array([255, 299, 65535], np.uint16), [255, 299, IGNORE]),
        (LabelSpace(3, 3), np.array([1, 3], np.uint8), [1, IGNORE]),
    ],
)
def test_stored_values_become_those_that_all_code_shares(space, stored, expected):
    found = space.canonical(stored, path="a.png")
    assert found.dtype == np.int64 and found.tolist() == expected


def test_other_values_are_refused_by_the_name_of_the_file():
    space = LabelSpace(5)
    values = np.array([[7, 0, 255, 5], [65534, 7, 4, -1]])
    assert space.strangers(values) == [-1, 5, 7, 65534]
    with pytest.raises(UserError, match=r"a\.png: label value -1, 5, 7, 65534 is outside 0\.\.4"):
        space.canonical(values, path="a.png")
    with pytest.raises(UserError, match=r"is not the ignore value 255"):
        space.canonical(np.array([IGNORE], np.uint16), path="a.png")


@pytest.mark.parametrize("hidden", [IGNORE, UNSEEN])
def test_relabel(hidden):
    split = ClassSplit.from_unseen([1], 4)
    labels = torch.tensor([0, 1, 2, 3, IGNORE, UNSEEN])
    assert split.relabel(labels, hidden=hidden).tolist() == [0, hidden, 1, 2, IGNORE, hidden]
    kept = split.relabel(labels, hidden=hidden, renumber=False)
    assert kept.tolist() == [0, hidden, 2, 3, IGNORE, hidden]
    assert split.relabel(labels.int()[:0], hidden=hidden).dtype == torch.int64


@pytest.mark.parametrize("label", [4, 254, 255, -2])
def test_labels_of_no_class(label):
    with pytest.raises(UserError, match=f"label {label} is neither one of the 4 classes nor"):
        ClassSplit.from_unseen([1], 4).relabel(torch.tensor([0, label]), hidden=UNSEEN)


@pytest.mark.parametrize(
    "seen, unseen, message",
    [
        ((0, 1), (1, 2), r"\[1\] are both"),
        ((0, 1), (3,), r"\[2\] are missing"),
        ((), (0,), "no class is seen"),
    ],
)
def test_wrong_splits(seen, unseen, message):
    with pytest.raises(UserError, match=message):
        ClassSplit(seen, unseen)


def test_an_unseen_class_that_does_not_exist():
    with pytest.raises(UserError, match=r"unseen classes \[7\] do not exist among 4"):
        ClassSplit.from_unseen([7], 4)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({}, "has no semantic classes"),
        ({"stuff_classes": ["a", "b"], "ignore_label": 1}, "ignore_label 1 lies inside .* 'b'"),
        ({"stuff_classes": range(IGNORE + 1)}, "has 65536 classes; at most 65535"),
    ],
)
def test_datasets_whose_labels_mean_nothing(facts, message, request):
    name = f"label_space_{request.node.callspec.indices['facts']}"
    MetadataCatalog.get(name).set(**facts)
    with pytest.raises(UserError, match=f"'{name}'.*{message}"):
        label_space(name)


def test_a_class_on_neither_side_has_no_split():
    assert LabelSpace(3).split is None
    assert LabelSpace(3, unseen=(1,)).split == ClassSplit((0, 2), (1,))
    with pytest.raises(UserError, match=r"\[0\] and the unseen ones \[1\] must share 0\.\.2 out"):
        LabelSpace(3, seen=(0,), unseen=(1,)).split  # noqa: B018  (raises)


def test_spaces_of_benchmarks():
    import ovs_core.data  # noqa: F401  (registers them)

    assert label_space("ade20k_847_val") == LabelSpace(847, 65535)
    assert label_space("coco_133_hybrid_train").num_classes == 171  # its labels are of COCO-Stuff
    zero_shot = label_space("voc_20_train")
    assert zero_shot.split and len(zero_shot.split.unseen) == 5
    with pytest.raises(UserError, match="'voc_20_trian'. Did you mean 'voc_20_train'"):
        label_space("voc_20_trian")
