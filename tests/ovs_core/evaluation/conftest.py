"""Small datasets with real label files, registered for the length of a test."""

import itertools
import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

_NUMBERS = itertools.count()


@pytest.fixture
def register(tmp_path):
    """Write label maps as files and register them; gives the dataset's name."""
    names = []

    def make(truths, num_classes, *, ignore_label=255, suffix=".png", **metadata):
        name = f"evaluation_test_{next(_NUMBERS)}"
        folder = tmp_path / name
        folder.mkdir()
        records = []
        for i, truth in enumerate(truths):
            path = folder / f"{i:03d}{suffix}"
            Image.fromarray(truth).save(path)
            picture = {"file_name": str(tmp_path / "images" / f"{i:03d}.jpg"), "image_id": i}
            records.append({**picture, "sem_seg_file_name": str(path)})
        DatasetCatalog.register(name, lambda: records)
        MetadataCatalog.get(name).set(
            stuff_classes=[f"class {i}" for i in range(num_classes)],
            ignore_label=ignore_label,
            evaluator_type="sem_seg",
            **metadata,
        )
        names.append(name)
        return name

    yield make
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture
def register_panoptic(tmp_path):
    """Write panoptic PNGs and their JSON and register them; gives the dataset's name."""
    names = []

    def make(maps, segments, categories):
        name = f"panoptic_test_{next(_NUMBERS)}"
        folder = tmp_path / name
        folder.mkdir()
        annotations = []
        for i, (ids, listed) in enumerate(zip(maps, segments, strict=True)):
            rgb = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)
            Image.fromarray(rgb).save(folder / f"{i}.png")
            annotations.append({"image_id": i, "file_name": f"{i}.png", "segments_info": listed})
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps({"categories": categories, "annotations": annotations}))
        order = {c["id"]: i for i, c in enumerate(categories)}
        MetadataCatalog.get(name).set(
            panoptic_json=str(path),
            panoptic_root=str(folder),
            evaluator_type="panoptic",
            label_divisor=1000,
            thing_dataset_id_to_contiguous_id={
                c["id"]: order[c["id"]] for c in categories if c["isthing"]
            },
            stuff_dataset_id_to_contiguous_id=order,
        )
        names.append(name)
        return name

    yield make
    for name in names:
        MetadataCatalog.remove(name)
