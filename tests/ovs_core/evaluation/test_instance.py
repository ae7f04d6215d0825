import itertools
import json

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from pycocotools.coco import COCO

from ovs_core.errors import UserError
from ovs_core.evaluation import OVSInstanceEvaluator, ap50_split

_NUMBERS = itertools.count()
NAMES = ["cat", "dog", "emu"]


@pytest.fixture
def dataset(tmp_path):
    """Two pictures with a cat (id 2), a dog (id 5) and an emu (id 9), boxes as masks."""
    boxes = [(1, 2, [10, 10, 20, 20]), (1, 5, [40, 40, 20, 10]), (2, 9, [5, 5, 30, 30])]
    annotations = [
        {
            "id": n,
            "image_id": image,
            "category_id": category,
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": 0,
            "segmentation": [polygon(*box)],
        }
        for n, (image, category, box) in enumerate(boxes, start=1)
    ]
    content = {
        "images": [{"id": i, "width": 100, "height": 80, "file_name": f"{i}.jpg"} for i in (1, 2)],
        "annotations": annotations,
        "categories": [{"id": i, "name": n} for i, n in zip((2, 5, 9), NAMES, strict=True)],
        "info": {},
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(content))
    name = f"instance_test_{next(_NUMBERS)}"
    DatasetCatalog.register(name, list)
    MetadataCatalog.get(name).set(
        json_file=str(path),
        thing_classes=NAMES,
        thing_dataset_id_to_contiguous_id={2: 0, 5: 1, 9: 2},
        seen_classes=(0,),
        unseen_classes=(1,),
        evaluator_type="coco",
    )
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def polygon(x, y, width, height):
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def instances(rows):
    """Detections (class, score, x1, y1, x2, y2) with the box as mask."""
    found = Instances((80, 100))
    found.pred_classes = torch.tensor([row[0] for row in rows])
    found.scores = torch.tensor([row[1] for row in rows])
    found.pred_boxes = Boxes(torch.tensor([row[2:] for row in rows], dtype=torch.float32))
    masks = torch.zeros(len(rows), 80, 100, dtype=torch.bool)
    for mask, (_, _, x1, y1, x2, y2) in zip(masks, rows, strict=True):
        mask[y1:y2, x1:x2] = True
    found.pred_masks = masks
    return found


def test_base_and_novel_apart(dataset, tmp_path):
    evaluator = OVSInstanceEvaluator(dataset, tmp_path / "out", config="tiny.yaml")
    evaluator.reset()
    # The cat is found; the dog is missed; the emu, in neither list, is found.
    first = instances([(0, 0.9, 10, 10, 30, 30), (1, 0.8, 0, 0, 5, 5)])
    evaluator.process([{"image_id": 1}], [{"instances": first}])
    evaluator.process([{"image_id": 2}], [{"instances": instances([(2, 0.7, 5, 5, 35, 35)])}])
    results = evaluator.evaluate()
    for task in ("bbox", "segm"):
        figures = results[task]
        assert (figures["AP50_base"], figures["AP50_novel"]) == (pytest.approx(100), 0)
        assert figures["AP50_all"] == pytest.approx(50)
        assert figures["AP50"] == pytest.approx(200 / 3)  # all three categories
        path = tmp_path / "out" / f"instances_{task}_evaluation.json"
        content = json.loads(path.read_text())
        assert content["figures"]["AP50_novel"] == 0 and content["pictures"] == 2


def test_without_lists_there_is_no_split(dataset):
    evaluator = OVSInstanceEvaluator(dataset, base=[], novel=[])
    evaluator.reset()
    found = instances([(0, 0.9, 10, 10, 30, 30)])
    evaluator.process([{"image_id": 1}], [{"instances": found}])
    assert "AP50_base" not in evaluator.evaluate()["bbox"]


def test_category_without_truth_is_left_out(dataset):
    truth = COCO(MetadataCatalog.get(dataset).json_file)
    found = [{"image_id": 1, "category_id": 2, "bbox": [10, 10, 20, 20], "score": 0.5}]
    means, values = ap50_split(truth, found, base=[2, 77], novel=[78])
    assert means["AP50_base"] == pytest.approx(100)
    assert np.isnan(means["AP50_novel"]) and np.isnan(values[77])


def test_no_detection_counts_as_zero(dataset):
    truth = COCO(MetadataCatalog.get(dataset).json_file)
    means, _ = ap50_split(truth, [], base=[2], novel=[5])
    assert means == {"AP50_base": 0, "AP50_novel": 0, "AP50_all": 0}


def test_evaluator_without_any_picture(dataset):
    evaluator = OVSInstanceEvaluator(dataset)
    evaluator.reset()
    with pytest.raises(UserError, match="no picture was evaluated"):
        evaluator.evaluate()


def test_wrong_input(dataset, tmp_path):
    evaluator = OVSInstanceEvaluator(dataset)
    with pytest.raises(UserError, match="needs 'instances'"):
        evaluator.process([{"image_id": 1}], [{"sem_seg": 0}])
    with pytest.raises(UserError, match="no picture with image_id 7"):
        evaluator.process([{"image_id": 7}], [{"instances": instances([])}])
    short = json.loads((tmp_path / "instances.json").read_text())
    short["categories"].pop()
    (tmp_path / "short.json").write_text(json.dumps(short))
    MetadataCatalog.get(dataset).__dict__["json_file"] = str(tmp_path / "short.json")
    with pytest.raises(UserError, match="short.json: lists 2 categories, but .* has 3 classes"):
        OVSInstanceEvaluator(dataset)
    MetadataCatalog.get(dataset).__dict__["json_file"] = str(tmp_path / "gone.json")
    with pytest.raises(UserError, match="gone.json: annotation file of .* is missing"):
        OVSInstanceEvaluator(dataset)
