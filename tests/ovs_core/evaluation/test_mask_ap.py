"""Mask AP on panoptic truth."""

import json
import math

import numpy as np
import pytest
import torch
from detectron2.structures import Instances

from ovs_core.data.preparation import ade20k
from ovs_core.errors import UserError
from ovs_core.evaluation import OVSMaskAPEvaluator
from tests.miniatures.ade20k import write_ade20k_150

CATEGORIES = [
    {"id": 3, "isthing": 1, "name": "cat"},
    {"id": 7, "isthing": 1, "name": "dog"},
    {"id": 9, "isthing": 0, "name": "sky"},
]
CAT, DOG, SKY = 0, 1, 2


def blocks():
    """A cat, a dog, a crowd of dogs and the sky, 10 x 10 pixels each."""
    ids = np.kron(np.array([[1, 2], [3, 4]]), np.ones((10, 10), int))
    segments = [
        {"id": 1, "category_id": 3},
        {"id": 2, "category_id": 7},
        {"id": 3, "category_id": 7, "iscrowd": 1},
        {"id": 4, "category_id": 9},
    ]
    return ids, segments


@pytest.fixture
def dataset(register_panoptic):
    ids, segments = blocks()
    return register_panoptic([ids, ids], [segments, segments], CATEGORIES)


def instances(rows, size=(20, 20)):
    """Detections (class, score, mask)."""
    found = Instances(size)
    found.pred_classes = torch.tensor([row[0] for row in rows], dtype=torch.int64)
    found.scores = torch.tensor([row[1] for row in rows])
    masks = [torch.as_tensor(row[2]) for row in rows]
    found.pred_masks = torch.stack(masks) if masks else torch.zeros(0, *size, dtype=torch.bool)
    return found


def score(dataset, *pictures):
    evaluator = OVSMaskAPEvaluator(dataset)
    for i, rows in enumerate(pictures):
        evaluator.process([{"image_id": i}], [{"instances": instances(rows)}])
    return evaluator.evaluate()["segm"]


def test_perfect_masks_and_a_missed_class(dataset):
    ids, _ = blocks()
    figures = score(dataset, [(CAT, 0.9, ids == 1)], [(CAT, 0.8, ids == 1)])
    assert figures["AP-cat"] == pytest.approx(100) and figures["AP-dog"] == 0
    assert figures["AP"] == pytest.approx(50)
    assert figures["APs"] == pytest.approx(50) and math.isnan(figures["APl"])


def test_what_lies_in_a_crowd_is_no_mistake(dataset):
    ids, _ = blocks()
    rows = [(DOG, 0.9, ids == 3), (DOG, 0.8, ids == 2)]
    assert score(dataset, rows)["AP-dog"] == pytest.approx(100)
    rows = [(DOG, 0.9, ids == 4), (DOG, 0.8, ids == 2)]
    assert score(dataset, rows)["AP-dog"] == pytest.approx(50)


def test_half_a_mask_counts_at_low_thresholds_only(dataset):
    ids, _ = blocks()
    part = (ids == 1) & (np.arange(20)[:, None] < 7)  # IoU 0.7: five of ten thresholds
    figures = score(dataset, [(CAT, 0.9, part), (SKY, 0.9, ids == 4)])
    assert figures["AP-cat"] == pytest.approx(50)
    assert (figures["AP50"], figures["AP75"]) == (pytest.approx(50), 0)


def test_nothing_found(dataset):
    assert score(dataset, [], [])["AP"] == 0


def test_results_are_written(dataset, tmp_path):
    evaluator = OVSMaskAPEvaluator(dataset, tmp_path, config="a.yaml")
    evaluator.process([{"image_id": 0}], [{"instances": instances([])}])
    evaluator.evaluate()
    content = json.loads((tmp_path / "segm_evaluation.json").read_text())
    assert content["config"] == "a.yaml" and content["figures"]["AP"] == 0


def test_wrong_input(dataset):
    evaluator = OVSMaskAPEvaluator(dataset)
    with pytest.raises(UserError, match="no picture was evaluated"):
        evaluator.evaluate()
    with pytest.raises(UserError, match="needs 'instances'"):
        evaluator.process([{"image_id": 0}], [{}])
    with pytest.raises(UserError, match="no annotation for image_id 5"):
        evaluator.process([{"image_id": 5}], [{"instances": instances([])}])
    with pytest.raises(UserError, match=r"0\.png: .*\(4, 4\)"):
        evaluator.process([{"image_id": 0}], [{"instances": instances([], (4, 4))}])


def test_ade20k_needs_no_instance_file(tmp_path, monkeypatch):
    """The thing segments of its panoptic annotation are the instances of its instance file."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    write_ade20k_150(tmp_path)
    for prepare in (ade20k.prepare_semantic, ade20k.prepare_panoptic, ade20k.prepare_instances):
        prepare(tmp_path, "val")
    path = tmp_path / ade20k.ARCHIVE / "ade20k_instance_val.json"
    stated = json.loads(path.read_text())["annotations"]
    evaluator = OVSMaskAPEvaluator("ade20k_150_panoptic_val")
    for picture in {record["image_id"] for record in stated}:
        annotation = evaluator.truth.annotation({"image_id": picture})
        found = list(evaluator._truth_of(annotation, evaluator.truth.ids(annotation, {})))
        expected = [record for record in stated if record["image_id"] == picture]
        assert [f["category_id"] for f in found] == [e["category_id"] for e in expected]
        for one, other in zip(found, expected, strict=True):
            assert one["segmentation"]["counts"].decode() == other["segmentation"]["counts"]
            assert one["area"] == other["area"] and one["bbox"] == other["bbox"]
