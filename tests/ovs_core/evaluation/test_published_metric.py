import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from PIL import Image

from cliptrase import CLIPtraseEvaluator
from cliptrase.published_metric import published_truth
from cliptrase.square_crop import crop_labels, square_crop
from ovs_core.errors import UserError


def run(name, predictions):
    evaluator = CLIPtraseEvaluator(name)
    for record, prediction in zip(DatasetCatalog.get(name), predictions, strict=True):
        evaluator.process([record], [{"sem_seg": torch.as_tensor(prediction)}])
    return evaluator.evaluate()["sem_seg"]


def test_labels_outside_the_classes_are_dropped(register):
    name = register([np.array([[0, 1, 80, 255]], np.uint8)], 2)
    result = run(name, [np.array([[0, 1, 1, 1]])])
    assert result["pACC"] == 100
    assert result["mACC"] == pytest.approx(100 * 1 / 1.01)
    assert result["mIoU"] == pytest.approx(100 * 1 / 1.01)
    assert result["mIoU_present"] == result["mIoU_union"] == 100


def test_unlabelled_pixels_become_the_background(register):
    name = register([np.array([[0, 255]], np.uint8)], 3, background_rule="last_class")
    assert run(name, [np.array([[0, 9]])])["pACC"] == 100  # 9 is a background word


def test_picture_without_labels_is_skipped_even_with_a_background(register):
    empty, some = np.full((1, 2), 255, np.uint8), np.zeros((1, 2), np.uint8)
    name = register([empty, some], 3, background_rule="last_class")
    assert run(name, [np.zeros((1, 2), int)] * 2)["pACC"] == 100


def test_large_labels_turn_negative():
    labels = np.array([[65535, 3]], np.uint16)
    assert published_truth(labels, 5, background=True).tolist() == [[-1, 3]]


def test_square_prediction_is_compared_with_the_crop(register):
    truth = np.zeros((10, 20), np.uint8)
    truth[:, :5] = 1  # outside the centre
    name = register([truth], 2)
    assert run(name, [np.zeros((10, 10), int)])["pACC"] == 100


def test_other_sizes_are_refused(register):
    name = register([np.zeros((10, 20), np.uint8)], 2)
    with pytest.raises(UserError, match="the labels are 10 x 20, the prediction is 10 x 12"):
        run(name, [np.zeros((10, 12), int)])


@pytest.mark.parametrize("size", [(95, 70), (83, 57), (61, 120), (81, 40)])
def test_crop_offset(size):
    """The long side is rounded down, the offset half to even (20.5 -> 20)."""
    width, height = size
    side = 40
    long = int(side * max(size) / min(size))
    assert square_crop(Image.new("L", size), side).size == (side, side)
    columns = np.broadcast_to(np.arange(width, dtype=np.uint8), (height, width))
    crop = crop_labels(columns, side)
    step = width / (long if width > height else side)
    offset = int(round((long - side) / 2)) if width > height else 0
    assert crop[0, 0] == int((offset + 0.5) * step)
    assert crop.dtype == np.int32
