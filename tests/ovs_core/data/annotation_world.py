"""Pictures and PNGs to an annotation file, and what training and evaluation make of the whole."""

import itertools
import json
from contextlib import contextmanager

import numpy as np
import torch
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata
from detectron2.structures import Boxes, Instances
from PIL import Image
from torch.nn import functional as F

from ovs_core.data import SemanticDatasetMapper, dataset_dicts, register_yaml_datasets
from ovs_core.data.annotations import PanopticSchema, read_annotations
from ovs_core.data.checks import check_dataset
from ovs_core.data.detection_mapper import DetectionDatasetMapper
from ovs_core.data.panoptic_png import color_from_segment_ids
from ovs_core.errors import UserError
from ovs_core.evaluation import build_evaluator
from ovs_core.words.label_space import IGNORE

_numbers = itertools.count()


def write_pictures(folder, content, kind):
    """A grey picture for each of a good file, and the segments' areas as PNGs, row by row."""
    (folder / "images").mkdir(parents=True)
    for one in content["images"]:
        size = (one["width"], one["height"])
        Image.new("RGB", size, (90, 90, 90)).save(folder / "images" / one["file_name"])
    if kind == "panoptic":
        (folder / "segments").mkdir()
        sizes = {one["id"]: (one["height"], one["width"]) for one in content["images"]}
        for one in content["annotations"]:
            ids = np.zeros(sizes[one["image_id"]], np.int32)
            areas = [(s["id"], s["area"]) for s in one["segments_info"]]
            flat = np.concatenate([np.full(area, id_) for id_, area in areas])
            ids.ravel()[: flat.size] = flat
            path = folder / "segments" / one["file_name"]
            Image.fromarray(color_from_segment_ids(ids)).save(path)


def write_stanza(folder, names, kind, **more):
    """Write the YAML of a dataset; gives its path."""
    stanza = {"images": "images", "names": names, **more}
    if kind != "semantic":
        stanza["annotations"] = "annotations.json"
    if kind == "panoptic":
        stanza["segments"] = "segments"
    path = folder / f"annotations_{next(_numbers)}.yaml"
    path.write_text(yaml.safe_dump({path.stem: stanza}))
    return path


@contextmanager
def registered(path):
    """Register the one dataset of a YAML file for as long as the block lasts; gives its name."""
    (name,) = yaml.safe_load(path.read_text())
    try:
        yield register_yaml_datasets(path)[0]
    finally:
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
        MetadataCatalog.pop(name, None)


def verdict(path):
    """What the checker says of a dataset: its errors, none if it is good, and its warnings."""
    try:
        with registered(path) as name:
            report = check_dataset(name)
            return report.errors, report.warnings
    except UserError as error:
        return [str(error)], []


def train_and_evaluate(path, answer):
    """Load, map, take a step of the smallest model, and score.

    Args:
        path: YAML file of one dataset.
        answer: record, metadata -> a model's output.

    Returns:
        The results of evaluation.
    """
    with registered(path) as name:
        records, metadata = dataset_dicts([name]), MetadataCatalog.get(name)
        if "annotations" in records[0]:
            mapper = DetectionDatasetMapper(
                is_train=True, augmentations=[], image_format="RGB", dataset_name=name
            )
            for record in records:
                assert mapper(record)["instances"].gt_boxes.tensor.isfinite().all()
        else:
            for record in records:
                step(SemanticDatasetMapper(True, augmentations=[])(record), metadata)
        evaluator = build_evaluator(name)
        evaluator.reset()
        for record in records:
            given = SemanticDatasetMapper(False, augmentations=[])(record)
            evaluator.process([given], [answer(record, metadata)])
        return evaluator.evaluate()


def step(sample, metadata: Metadata):
    """One step of a model that scores each class by a number, everywhere."""
    scores = torch.zeros(len(metadata.stuff_classes), requires_grad=True)
    truth = sample["sem_seg"][None]
    maps = scores[None, :, None, None].expand(1, -1, *truth.shape[-2:])
    loss = F.cross_entropy(maps, truth, ignore_index=IGNORE, reduction="sum")
    loss.backward()
    assert loss.isfinite()


def boxes_answer(objects, names):
    """An answer with the boxes (picture's file name, class name, box) of a good file."""

    def answer(record, metadata):
        del metadata
        own = [(n, b) for file, n, b in objects if record["file_name"].endswith(f"/{file}")]
        found = Instances((record["height"], record["width"]))
        corners = [[x, y, x + w, y + h] for _, (x, y, w, h) in own]
        found.pred_boxes = Boxes(torch.tensor(corners, dtype=torch.float32).reshape(-1, 4))
        found.pred_classes = torch.tensor([names.index(n) for n, _ in own], dtype=torch.int64)
        found.scores = torch.full((len(own),), 0.9)
        return {"instances": found}

    return answer


def segments_answer(folder, names):
    """An answer with the segments of a good file, as panoptic map and as label map."""
    content = read_annotations(folder / "good.json", PanopticSchema)
    listed = {one.file_name: one.segments_info for one in content.annotations}
    named = {category.id: category.name for category in content.categories}

    def answer(record, metadata):
        file = record["pan_seg_file_name"].rpartition("/")[2]
        rgb = np.asarray(Image.open(folder / "good" / file)).astype(np.int64)
        ids = rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
        segments, labels = [], torch.zeros(ids.shape, dtype=torch.int64)
        for segment in listed[file]:
            index = names.index(named[segment.category_id])
            thing = index in metadata.thing_dataset_id_to_contiguous_id.values()
            segments.append({"id": segment.id, "category_id": index, "isthing": thing})
            labels[torch.from_numpy(ids == segment.id)] = index
        found = Instances(ids.shape)
        found.pred_classes, found.scores = torch.zeros(0, dtype=torch.int64), torch.zeros(0)
        found.pred_masks = torch.zeros(0, *ids.shape, dtype=torch.bool)
        return {
            "panoptic_seg": (torch.from_numpy(ids), segments),
            "sem_seg_labels": labels,
            "instances": found,
        }

    return answer


def tiny_instances():
    """A good instance file of two pictures of 20 x 30 pixels, as JSON."""
    boxes = [(1, 2, [2, 3, 10, 8]), (1, 5, [15, 5, 9, 9]), (2, 2, [0, 0, 30, 20])]
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 20, "width": 30} for i in (1, 2)],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "bbox": [x, y, w, h], "area": w * h,
             "iscrowd": 0, "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]]}
            for n, (i, c, (x, y, w, h)) in enumerate(boxes, start=1)
        ],
        "categories": [{"id": 2, "name": "cat"}, {"id": 5, "name": "dog"}],
    }  # fmt: skip


def tiny_panoptic():
    """A good panoptic file of two pictures of 20 x 30 pixels, as JSON."""
    segments = [[(1, 2, 150), (2, 5, 100), (3, 9, 300)], [(7, 2, 200), (300, 9, 350)]]
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 20, "width": 30} for i in (1, 2)],
        "annotations": [
            {"image_id": i, "file_name": f"{i}.png", "segments_info": [
                {"id": s, "category_id": c, "area": a, "iscrowd": 0, "bbox": [0, 0, 30, 20]}
                for s, c, a in listed
            ]}
            for i, listed in enumerate(segments, start=1)
        ],
        "categories": [{"id": 2, "name": "cat", "isthing": 1}, {"id": 5, "name": "dog",
                        "isthing": 1}, {"id": 9, "name": "sky", "isthing": 0}],
    }  # fmt: skip


def write_world(folder, content, kind, names, **more):
    """Write pictures, PNGs, the good file and a stanza; gives the YAML's path."""
    write_pictures(folder, content, kind)
    (folder / "annotations.json").write_text(json.dumps(content))
    (folder / "good.json").write_text(json.dumps(content))
    if kind == "panoptic":
        (folder / "good").mkdir()
        for path in (folder / "segments").iterdir():
            (folder / "good" / path.name).write_bytes(path.read_bytes())
    return write_stanza(folder, names, kind, **more)
