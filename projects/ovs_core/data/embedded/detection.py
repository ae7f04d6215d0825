"""Boxes of the embedded world: the exact boxes of its things, as COCO instances.

The file ``<cache>/embedded/<split>_instances.json`` is made from the split's ``panoptic.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...files.writing import atomic_write, json_text
from .dataset import embedded_root, ensure_embedded_dataset, split_records
from .vocabulary import THINGS

_KEYS = ("file_name", "height", "width", "image_id")


def instances_file(split: str) -> Path:
    """Path of a split's COCO annotation file, whether it exists or not."""
    folder = embedded_root(split)
    return folder.with_name(f"{folder.name}_instances.json")


def load_detection(split: str) -> list[dict[str, Any]]:
    """Dicts of a split with the boxes of its things, making the files on first use.

    Returns:
        Detectron2 dicts; ``annotations`` holds XYWH boxes, tight around the visible pixels.
    """
    from detectron2.structures import BoxMode

    records = split_records(ensure_embedded_dataset(split))
    _write_annotations(records, instances_file(split))
    return [
        {
            **{key: record[key] for key in _KEYS},
            "annotations": [
                {"bbox": s["bbox"], "bbox_mode": BoxMode.XYWH_ABS, "iscrowd": 0,
                 "category_id": s["category_id"]}
                for s in things(record)
            ],
        }
        for record in records
    ]  # fmt: skip


def things(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Segments of a record that are things."""
    return [s for s in record["segments_info"] if s["category_id"] < len(THINGS)]


def _write_annotations(records: list[dict[str, Any]], path: Path) -> None:
    """Write the COCO file unless it is there with the same content."""
    images = [
        {"id": r["image_id"], "file_name": Path(r["file_name"]).name, "height": r["height"],
         "width": r["width"]}
        for r in records
    ]  # fmt: skip
    boxes = [(r["image_id"], s) for r in records for s in things(r)]
    annotations = [
        {"id": number, "image_id": image, "category_id": s["category_id"], "bbox": s["bbox"],
         "area": s["bbox"][2] * s["bbox"][3], "iscrowd": 0}
        for number, (image, s) in enumerate(boxes, start=1)
    ]  # fmt: skip
    categories = [{"id": i, "name": name} for i, name in enumerate(THINGS)]
    content = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    text = json_text(content, compact=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        atomic_write(path, text)
