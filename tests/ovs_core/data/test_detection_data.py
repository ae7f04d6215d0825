"""Boxes: the embedded world's, the mapper, pictures without any, base/novel splits."""

import json
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from PIL import Image

from ovs_core.data.build import build_mapper
from ovs_core.data.embedded.dataset import SPLITS, SplitSpec
from ovs_core.data.embedded.vocabulary import THINGS
from ovs_core.engine.config import get_ovs_cfg
from ovs_core.engine.train_loader import build_train_loader
from ovs_core.errors import UserError
from ovs_core.words.dataset_words import dataset_outside, dataset_vocabulary

NAMES = ["cat", "dog", "emu"]


@pytest.fixture
def boxes_set(tmp_path):
    """One picture with a cat, a dog (novel) and a crowd of cats."""
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(tmp_path / "a.png")
    boxes = [
        {"bbox": [4, 4, 20, 12], "category_id": 0, "iscrowd": 0, "bbox_mode": BoxMode.XYWH_ABS},
        {"bbox": [30, 8, 20, 12], "category_id": 1, "iscrowd": 0, "bbox_mode": BoxMode.XYWH_ABS},
        {"bbox": [0, 0, 60, 40], "category_id": 0, "iscrowd": 1, "bbox_mode": BoxMode.XYWH_ABS},
    ]
    record = {"file_name": str(tmp_path / "a.png"), "image_id": 1, "annotations": boxes}
    DatasetCatalog.register("boxes_of_test", lambda: [dict(record)])
    MetadataCatalog.get("boxes_of_test").set(
        thing_classes=NAMES, seen_classes=[0], unseen_classes=[1], evaluator_type="coco"
    )
    yield record
    DatasetCatalog.remove("boxes_of_test")
    MetadataCatalog.remove("boxes_of_test")


def config(**changes):
    cfg = get_ovs_cfg()
    cfg.INPUT.MAPPER = cfg.INPUT.TEST_MAPPER = "DetectionDatasetMapper"
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ("boxes_of_test",)
    cfg.INPUT.IMAGE_SIZE, cfg.INPUT.MIN_SCALE, cfg.INPUT.MAX_SCALE = 80, 1.0, 1.0
    cfg.INPUT.RANDOM_FLIP = "none"
    for key, value in changes.items():
        node, name = key.split("__")
        cfg[node][name] = value
    return cfg


def test_jitter_moves_the_boxes_with_the_picture(boxes_set):
    mapped = build_mapper(config(), is_train=True)(boxes_set)
    assert mapped["image"].shape == (3, 80, 80)  # 40 x 60 enlarged by 4/3, padded below
    assert mapped["instances"].gt_classes.tolist() == [0, 1]  # the crowd is left out
    scaled = np.array([4, 4, 24, 16]) * 4 / 3
    np.testing.assert_allclose(mapped["instances"].gt_boxes.tensor[0], scaled, atol=0.5)
    assert (mapped["height"], mapped["width"]) == (40, 60)


def test_boxes_of_unseen_classes_are_left_out_in_training_if_asked(boxes_set):
    cfg = config(DATASETS__UNSEEN_LABELS="ignore")
    mapped = build_mapper(cfg, is_train=True)(boxes_set)
    assert mapped["instances"].gt_classes.tolist() == [0]
    assert len(boxes_set["annotations"]) == 3  # the record is not changed
    assert "instances" not in build_mapper(cfg, is_train=False)(boxes_set)


def test_detectron2s_own_augmentations_can_be_chosen(boxes_set):
    cfg = config(INPUT__BOX_AUGMENTATION="resize", INPUT__MIN_SIZE_TRAIN=(20,))
    assert build_mapper(cfg, is_train=True)(boxes_set)["image"].shape == (3, 20, 30)


def test_wrong_records_name_the_file(boxes_set, tmp_path):
    mapper = build_mapper(config(), is_train=True)
    outside = {**boxes_set["annotations"][0], "category_id": 3}
    with pytest.raises(UserError, match=r"a.png: a box has category 3, but .* 0..2 \(cat .. emu\)"):
        mapper({**boxes_set, "annotations": [outside]})
    with pytest.raises(UserError, match="a.png: has no boxes"):
        mapper({k: v for k, v in boxes_set.items() if k != "annotations"})
    with pytest.raises(UserError, match="a.png: is 40 x 60 .*says 10 x 10"):
        mapper({**boxes_set, "height": 10, "width": 10})
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="b.png: cannot be decoded as a picture"):
        mapper({**boxes_set, "file_name": str(tmp_path / "b.png")})


def test_wrong_keys_name_the_choices(boxes_set):
    with pytest.raises(UserError, match="BOX_AUGMENTATION: 'jiter'.*Did you mean 'jitter'"):
        build_mapper(config(INPUT__BOX_AUGMENTATION="jiter"), is_train=True)
    with pytest.raises(UserError, match="'mark' has no meaning for boxes"):
        build_mapper(config(DATASETS__UNSEEN_LABELS="mark"), is_train=True)


def test_pictures_without_boxes_are_left_out_of_training_unless_wanted(boxes_set):
    crowd = {**boxes_set, "annotations": boxes_set["annotations"][2:]}
    mapper = build_mapper(config(), is_train=True)
    cfg = config(SOLVER__IMS_PER_BATCH=1, DATALOADER__NUM_WORKERS=0)
    loader, _ = build_train_loader(cfg, [crowd, boxes_set], mapper)
    assert len(loader.dataset.dataset) == 1
    with pytest.raises(UserError, match="no picture has a box"):
        build_train_loader(cfg, [crowd], mapper)
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    loader, _ = build_train_loader(cfg, [crowd, boxes_set], mapper)
    assert {len(mapper(d)["instances"]) for d in (crowd, boxes_set)} == {0, 2}


def test_classes_outside_a_split_take_no_part(boxes_set):
    assert dataset_outside(MetadataCatalog.get("boxes_of_test")) == (2,)
    coco = MetadataCatalog.get("coco_detection_48_17_val")
    left_out = {coco.thing_classes[i] for i in dataset_outside(coco)}
    assert len(left_out) == 15 and "stop sign" in left_out and "person" not in left_out
    assert dataset_outside(MetadataCatalog.get("embedded_sem_seg_val")) == ()
    assert dataset_vocabulary(MetadataCatalog.get("boxes_of_test")).names == NAMES


@pytest.mark.parametrize("name", ["coco_detection_48_17_val", "ade20k_150_instance_val"])
def test_words_of_a_set_of_boxes_are_its_things(name):
    metadata = MetadataCatalog.get(name)
    assert dataset_vocabulary(metadata).names == list(metadata.thing_classes)


def test_boxes_of_the_embedded_world_are_tight(tmp_path, monkeypatch):
    monkeypatch.setenv("OVSUITE_CACHE", str(tmp_path))
    monkeypatch.setitem(SPLITS, "val", SplitSpec(4, 1_000_000, ((96, 128),)))
    records = DatasetCatalog.get("embedded_detection_val")
    path = Path(MetadataCatalog.get("embedded_detection_val").json_file)
    content = json.loads(path.read_text())
    assert tmp_path in path.parents
    assert len(records) == len(content["images"]) == 4
    assert [c["name"] for c in content["categories"]] == list(THINGS)
    assert len(content["annotations"]) == sum(len(r["annotations"]) for r in records) > 4
    panoptic = DatasetCatalog.get("embedded_panoptic_val")
    for record, segments in zip(records, panoptic, strict=True):
        ids = np.asarray(Image.open(segments["pan_seg_file_name"]))[..., 0]
        things = [s for s in segments["segments_info"] if s["category_id"] < len(THINGS)]
        for box, segment in zip(record["annotations"], things, strict=True):
            rows, columns = np.nonzero(ids == segment["id"])
            left, top, width, height = box["bbox"]
            assert (left, top) == (columns.min(), rows.min())
            assert (width, height) == (np.ptp(columns) + 1, np.ptp(rows) + 1)
    metadata = MetadataCatalog.get("embedded_detection_val")
    assert {THINGS[i] for i in metadata.unseen_classes} == {"fish", "bell", "hat"}
    assert len(metadata.seen_classes) == 17
