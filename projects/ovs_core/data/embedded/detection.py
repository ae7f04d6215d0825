"""Boxes of the embedded world: the exact boxes of its things, as COCO instances.

The file ``<cache>/embedded/<split>_instances.json`` is made from the split's ``panoptic.json``.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ...files.cache import cannot_be_kept, stand_in_cache
from ...files.writing import atomic_write, json_text
from .dataset import ensure_embedded_dataset, split_records
from .vocabulary import THINGS

logger = logging.getLogger(__name__)

_KEYS = ("file_name", "height", "width", "image_id")


def detection_places(folder: Path) -> dict[str, str]:
    """What metadata say of a split's files, whether they exist or not.

    Args:
        folder: of the split.
    """
    instances = folder.with_name(f"{folder.name}_instances.json")
    return {"json_file": str(instances), "image_root": str(folder / "images")}


def load_detection(split: str, name: str) -> list[dict[str, Any]]:
    """Dicts of a split with the boxes of its things, making the files on first use.

    Args:
        split: ``"train"`` or ``"val"``.
        name: registered dataset, whose metadata are led to the files.

    Returns:
        Detectron2 dicts; ``annotations`` holds XYWH boxes, tight around the visible pixels.
    """
    from detectron2.data import MetadataCatalog
    from detectron2.structures import BoxMode

    folder = ensure_embedded_dataset(split)
    records = split_records(folder)
    places = detection_places(folder)
    places["json_file"] = str(_write_annotations(records, Path(places["json_file"])))
    vars(MetadataCatalog.get(name)).update(places)
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


def _write_annotations(records: list[dict[str, Any]], path: Path) -> Path:
    """Write the COCO file unless it is there with the same content; give where it is."""
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
    if path.is_file() and path.read_bytes() == text.encode():
        return path
    try:
        atomic_write(path, text)
    except OSError as error:
        instead = stand_in_cache() / path.name
        logger.warning(cannot_be_kept(path, error, f"writing {instead}"))
        atomic_write(instead, text)
        return instead
    return path
