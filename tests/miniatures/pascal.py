"""PASCAL VOC 2012 with SBD, and PASCAL Context."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pycocotools import mask as rle
from scipy.io import savemat

from .draw import HEIGHT, WIDTH, stripes, write_ids, write_json, write_lines, write_picture

VOC, VOC2010 = "VOCdevkit/VOC2012", "VOCdevkit/VOC2010"
TRAIN = ("2007_000032", "2007_000039")
VAL = ("2007_000033", "2007_000042", "2007_000061")
ADDED = ("2008_000002", "2008_000003", "2008_000007")
RAW = {
    "2007_000032": [0, 1, 255, 15], "2007_000039": [20, 255, 0],
    "2007_000033": [0, 1, 255, 20], "2007_000042": [19, 255], "2007_000061": [0, 4, 15],
    "2008_000002": [0, 20], "2008_000003": [0, 19, 15], "2008_000007": [4],
}  # fmt: skip
CONTEXT = {
    "train": ("2008_000002", "2008_000003"),
    "val": ("2008_000008", "2008_000043", "2008_000076"),
}
EXTRA_VAL = "2008_000099"  # in the merged annotation's val phase, not in the published list


def write_voc2012(root: Path) -> None:
    """VOCdevkit with palette PNGs, the lists, and MMSegmentation's augmented labels."""
    base = root / VOC
    lists = base / "ImageSets" / "Segmentation"
    write_lines(lists / "train.txt", list(TRAIN))
    write_lines(lists / "val.txt", list(VAL))
    write_lines(lists / "aug.txt", list(ADDED))
    write_lines(lists / "trainaug.txt", [*TRAIN, *ADDED])
    for number, key in enumerate((*TRAIN, *VAL, *ADDED)):
        write_picture(base / "JPEGImages" / f"{key}.jpg", number)
        own = key not in ADDED
        folder = "SegmentationClass" if own else "SegmentationClassAug"
        write_ids(base / folder / f"{key}.png", stripes(RAW[key]), palette=own)
    write_picture(base / "JPEGImages" / "2012_004331.jpg", 99)  # detection only, without a mask


def write_sbd(root: Path) -> None:
    """``benchmark_RELEASE/dataset``: .mat labels without a void border; lists overlap VOC's."""
    base = root / "benchmark_RELEASE" / "dataset"
    write_lines(base / "train.txt", [*ADDED[:2], TRAIN[0]])
    write_lines(base / "val.txt", [ADDED[2], VAL[0]])
    (base / "cls").mkdir(parents=True, exist_ok=True)
    for key in (*ADDED, TRAIN[0], VAL[0]):
        labels = stripes(RAW[key])
        content = {"Segmentation": np.where(labels == 255, 0, labels).astype(np.uint8)}
        savemat(base / "cls" / f"{key}.mat", {"GTcls": {**content, "Boundaries": 0}})


def write_context_59(root: Path) -> None:
    """VOC2010 pictures and ``trainval_merged.json`` with overlapping annotations."""
    base = root / VOC2010
    images, annotations = [], []
    phases = [(k, "train") for k in CONTEXT["train"]]
    phases += [(k, "val") for k in (*CONTEXT["val"], EXTRA_VAL)]
    for number, (key, phase) in enumerate(phases):
        write_picture(base / "JPEGImages" / f"{key}.jpg", number)
        images.append({"image_id": number, "file_name": f"{key}.jpg", "phase": phase,
                       "height": HEIGHT, "width": WIDTH})  # fmt: skip
        left, right = np.zeros((2, HEIGHT, WIDTH), np.uint8)
        left[:, :10], right[:, 6:12] = 1, 1  # they overlap; the later one stays
        for category, mask in ((2, left), (458, right)):  # aeroplane, wood
            encoded = rle.encode(np.asfortranarray(mask))
            encoded["counts"] = encoded["counts"].decode()
            annotations.append(
                {"image_id": number, "category_id": category, "segmentation": encoded}
            )
    write_json(base / "trainval_merged.json", {"images": images, "annos_segmentation": annotations})
    for split, keys in CONTEXT.items():
        write_lines(base / "ImageSets" / "SegmentationContext" / f"{split}.txt", list(keys))


def write_context_459(root: Path) -> None:
    """The ``.mat`` files of trainval.tar.gz: LabelMap, 0 where nothing is annotated."""
    base = root / VOC2010
    (base / "trainval").mkdir(parents=True, exist_ok=True)
    for split, keys in CONTEXT.items():
        for number, key in enumerate(keys):
            write_picture(base / "JPEGImages" / f"{key}.jpg", number)
            savemat(
                base / "trainval" / f"{key}.mat", {"LabelMap": stripes([0, 1, 256, 459], np.uint16)}
            )
        write_lines(base / "ImageSets" / "SegmentationContext" / f"{split}.txt", list(keys))
