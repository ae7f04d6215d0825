"""The ground truth of an instance set, in pycocotools' form."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any

from detectron2.data import DatasetCatalog
from detectron2.data.catalog import Metadata
from pycocotools.coco import COCO

# pycocotools takes an annotation of id 0 for one that nothing matches.
_FIRST_ID = 1


def instance_truth(dataset_name: str, metadata: Metadata) -> COCO | None:
    """Build the ground truth from the records that training reads too.

    Ids, sizes, boxes and areas are then those that the loader checked and completed, and every
    class of the dataset is known, also one that the annotation file does not list.

    Args:
        dataset_name: registered dataset.
        metadata: of the dataset, with ``thing_dataset_id_to_contiguous_id``.

    Returns:
        The truth; None if the records are not the suite's (their objects have no ``area``), so
        that only the annotation file tells it.

    Raises:
        UserError: if the dataset cannot be read.
    """
    records = DatasetCatalog.get(dataset_name) if dataset_name in DatasetCatalog else []
    complete = all("area" in box for r in records for box in r.get("annotations", [{}]))
    if not records or not complete:
        return None
    ids = {v: k for k, v in metadata.thing_dataset_id_to_contiguous_id.items()}
    objects = [_object(box, r["image_id"], ids) for r in records for box in r["annotations"]]
    truth = COCO()
    truth.dataset = {
        "images": [{"id": r["image_id"], "height": r["height"], "width": r["width"]}
                   for r in records],
        "annotations": [{**one, "id": i} for i, one in enumerate(objects, start=_FIRST_ID)],
        "categories": [{"id": id_, "name": metadata.thing_classes[i]} for i, id_ in ids.items()],
    }  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth.createIndex()
    return truth


def _object(
    box: Mapping[str, Any], image_id: int | str, dataset_ids: Mapping[int, int]
) -> dict[str, Any]:
    kept = {k: box[k] for k in ("bbox", "area", "iscrowd", "segmentation") if k in box}
    return {**kept, "image_id": image_id, "category_id": dataset_ids[box["category_id"]]}
