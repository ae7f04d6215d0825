"""COCO 2017: stuff maps, panoptic and instance annotation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ovs_core.words.class_lists import load_class_list

from .draw import (
    HEIGHT,
    WIDTH,
    segment_colours,
    stripes,
    write_ids,
    write_json,
    write_picture,
    write_rgb,
)

TRAIN_IDS, VAL_IDS = (9, 25, 30), (139, 285, 632)
# Raw stuffthingmaps values: person, gap-free things, grass (123), wood (181), unlabelled.
STUFF_VALUES = {
    9: [0, 89, 123, 255], 25: [20, 24, 181], 30: [255],
    139: [0, 1, 91, 255], 285: [22, 123, 156], 632: [255],
}  # fmt: skip


def name(image_id: int) -> str:
    """COCO's file name without suffix."""
    return f"{image_id:012d}"


def write_images(root: Path, folder: str = "coco") -> None:
    """Write train2017 and val2017; one picture of each is grey."""
    for split, ids in (("train2017", TRAIN_IDS), ("val2017", VAL_IDS)):
        for image_id in ids:
            mode = "L" if image_id in (25, 285) else "RGB"
            write_picture(root / folder / split / f"{name(image_id)}.jpg", image_id, mode=mode)


def write_coco_stuff(root: Path) -> None:
    """Pictures and raw stuffthingmaps; one map of each split is unlabelled altogether."""
    write_images(root)
    for split, ids in (("train2017", TRAIN_IDS), ("val2017", VAL_IDS)):
        for image_id in ids:
            path = root / "coco" / "stuffthingmaps" / split / f"{name(image_id)}.png"
            write_ids(path, stripes(STUFF_VALUES[image_id]))


def write_coco_panoptic(root: Path) -> None:
    """Panoptic JSON and PNGs with void, a crowd, and ids that need all three channels."""
    write_images(root)
    for split, ids in (("train2017", TRAIN_IDS), ("val2017", VAL_IDS)):
        annotations = []
        for image_id in ids:
            segments = np.zeros((HEIGHT, WIDTH), np.int64)
            segments[:, :4], segments[:, 4:8], segments[:, 8:12] = 300 + image_id, 70000, 5
            stem = name(image_id)
            write_rgb(
                root / "coco" / f"panoptic_{split}" / f"{stem}.png", segment_colours(segments)
            )
            info = [
                {
                    "id": 300 + image_id,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": [0, 0, 4, 12],
                    "area": 48,
                },
                {"id": 70000, "category_id": 200, "iscrowd": 0, "bbox": [4, 0, 4, 12], "area": 48},
                {"id": 5, "category_id": 18, "iscrowd": 1, "bbox": [8, 0, 4, 12], "area": 48},
            ]
            annotations.append(
                {"image_id": image_id, "file_name": f"{stem}.png", "segments_info": info}
            )
        write_json(root / "coco" / "annotations" / f"panoptic_{split}.json", {
            "images": _images(ids), "annotations": annotations,
            "categories": [{"id": i, "isthing": int(i < 92)} for i in (1, 18, 200)],
        })  # fmt: skip


def write_coco_detection(root: Path) -> None:
    """Instance JSON: polygon, crowd RLE, a box of neither group, a picture without boxes."""
    write_images(root)
    for split, ids in (("train2017", TRAIN_IDS), ("val2017", VAL_IDS)):
        first, second = ids[0], ids[1]
        polygon = [[1.0, 1.0, 5.0, 1.0, 5.0, 5.0, 1.0, 5.0]]
        runs = {"size": [HEIGHT, WIDTH], "counts": [0, 24, HEIGHT * WIDTH - 24]}
        boxes = [
            (first, 1, polygon, 0), (first, 17, polygon, 0),  # person: base, cat: novel
            (first, 13, polygon, 0), (second, 1, runs, 1),  # stop sign: neither
        ]  # fmt: skip
        annotations = [
            {"id": i + 1, "image_id": image, "category_id": category, "segmentation": shape,
             "iscrowd": crowd, "bbox": [1.0, 1.0, 4.0, 4.0], "area": 16.0}
            for i, (image, category, shape, crowd) in enumerate(boxes)
        ]  # fmt: skip
        content = {
            "images": _images(ids),
            "annotations": annotations,
            "categories": [
                {"id": c["category_id"], "name": c["name"]}
                for c in load_class_list("coco_detection_80").classes
            ],
        }
        write_json(root / "coco" / "annotations" / f"instances_{split}.json", content)


def write_coco_captions(root: Path) -> None:
    """Caption JSON: two sentences for the first picture, one for each other."""
    write_images(root)
    for split, ids in (("train2017", TRAIN_IDS), ("val2017", VAL_IDS)):
        told = [(ids[0], "A person beside a cat.\n"), *((i, f"Picture {i}.") for i in ids)]
        annotations = [
            {"id": number, "image_id": image, "caption": caption}
            for number, (image, caption) in enumerate(told)
        ]
        content = {"images": _images(ids), "annotations": annotations}
        write_json(root / "coco" / "annotations" / f"captions_{split}.json", content)


def _images(ids: tuple[int, ...]) -> list[dict]:
    return [{"id": i, "file_name": f"{name(i)}.jpg", "height": HEIGHT, "width": WIDTH} for i in ids]
