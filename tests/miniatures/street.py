"""Cityscapes and Mapillary Vistas v1.2."""

from __future__ import annotations

from pathlib import Path

import numpy as np

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

CITIES = {
    "train": ("aachen/aachen_000000_000019", "bochum/bochum_000000_000313"),
    "val": ("frankfurt/frankfurt_000000_000294", "lindau/lindau_000000_000019",
            "munster/munster_000000_000019"),
}  # fmt: skip
# road, person 24 with a number, crowd of cars (26 without a number), caravan (not scored), void.
LABEL_IDS, INSTANCE_IDS = [7, 24, 26, 29, 4], [7, 24001, 26, 29000, 4]


def write_cityscapes(root: Path) -> None:
    """``leftImg8bit`` and ``gtFine`` as unpacked; a licence plate (-1) is stored as 255."""
    base = root / "cityscapes"
    for split, stems in CITIES.items():
        for number, stem in enumerate(stems):
            write_picture(base / "leftImg8bit" / split / f"{stem}_leftImg8bit.png", number)
            labels = stripes(LABEL_IDS)
            labels[0, 0] = 255 if number == 1 else labels[0, 0]
            write_ids(base / "gtFine" / split / f"{stem}_gtFine_labelIds.png", labels)
            instances = stripes(INSTANCE_IDS, np.uint16)
            write_ids(base / "gtFine" / split / f"{stem}_gtFine_instanceIds.png", instances)
            write_rgb(
                base / "gtFine" / split / f"{stem}_gtFine_color.png",
                np.zeros((12, 16, 3), np.uint8),
            )


def write_mapillary(root: Path) -> None:
    """``{training,validation}/{images,labels,panoptic}``; labels are palette PNGs, 65 is void."""
    base = root / "mapillary_vistas"
    for split in ("training", "validation"):
        annotations, images = [], []
        for number in range(3):
            stem = f"{split[0]}w{number:04d}_x-Q"
            write_picture(base / split / "images" / f"{stem}.jpg", number)
            labels = stripes([0, 13, 55, 65])
            write_ids(base / split / "labels" / f"{stem}.png", labels, palette=True)
            ids = np.zeros((HEIGHT, WIDTH), np.int64)
            ids[:, :4], ids[:, 4:8], ids[:, 8:12] = 1, 3585, 14337
            write_rgb(base / split / "panoptic" / f"{stem}.png", segment_colours(ids))
            info = [
                {"id": i, "category_id": c, "iscrowd": 0, "bbox": [x, 0, 4, 12], "area": 48}
                for i, c, x in ((1, 1, 0), (3585, 14, 4), (14337, 56, 8))
            ]
            annotations.append(
                {"image_id": stem, "file_name": f"{stem}.png", "segments_info": info}
            )
            images.append(
                {"id": stem, "file_name": f"{stem}.jpg", "height": HEIGHT, "width": WIDTH}
            )
        content = {"images": images, "annotations": annotations, "categories": []}
        write_json(base / split / "panoptic" / "panoptic_2018.json", content)
