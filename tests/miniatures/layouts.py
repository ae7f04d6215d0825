"""What other code bases have prepared: one picture with its label, per dataset and layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .draw import stripes, write_ids, write_lines, write_picture

# dataset -> layout -> (picture, label), both of one validation picture
_STUFF_LABEL = "stuffthingmaps_detectron2/val2017/000000000139.png"
_ADE = "ADEChallengeData2016/{}/validation/ADE_val_00000001.{}"
_FULL = "ADE20K_2021_17_01/{}_detectron2/validation/ADE_val_00000001.{}"
_VOC, _KEY, _D2 = "VOCdevkit/VOC2012", "2007_000033", "annotations_detectron2"
_CTX, _CKEY = "VOCdevkit/VOC2010", "2008_000008"
LAYOUTS: dict[str, dict[str, tuple[str, str]]] = {
    "coco_stuff_171": {
        "catseg": ("coco-stuff/images/val2017/000000000139.jpg",
                   "coco-stuff/annotations_detectron2/val2017/000000000139.png"),
        "san": ("coco/val2017/000000000139.jpg", f"coco/{_STUFF_LABEL}"),
        "maftplus": ("coco/coco17/val2017/000000000139.jpg", f"coco/coco17/{_STUFF_LABEL}"),
        "mmseg": ("coco_stuff164k/images/val2017/000000000139.jpg",
                  "coco_stuff164k/annotations/val2017/000000000139_labelTrainIds.png"),
    },
    "ade20k_150": {
        "catseg": (_ADE.format("images", "jpg"), _ADE.format("annotations_detectron2", "png")),
        "maftplus": ("ade20k/" + _ADE.format("images", "jpg"),
                     "ade20k/" + _ADE.format("annotations_detectron2", "png")),
        "maft": ("ade/" + _ADE.format("images", "jpg"),
                 "ade/" + _ADE.format("annotations_detectron2", "png")),
        "mmseg": ("ade/" + _ADE.format("images", "jpg"),
                  "ade/" + _ADE.format("annotations", "png")),
    },
    "ade20k_847": {
        "catseg": (_FULL.format("images", "jpg"), _FULL.format("annotations", "tif")),
        "maftplus": ("ade20k/" + _FULL.format("images", "jpg"),
                     "ade20k/" + _FULL.format("annotations", "tif")),
        "fcclip": ("ade/" + _FULL.format("images", "jpg"),
                   "ade/" + _FULL.format("annotations", "tif")),
    },
    "voc_20": {
        "catseg": (f"{_VOC}/JPEGImages/{_KEY}.jpg", f"{_VOC}/{_D2}/val/{_KEY}.png"),
        "san": (f"VOC2012/JPEGImages/{_KEY}.jpg", f"VOC2012/annotations_detectron2/val/{_KEY}.png"),
        "fcclip": (f"pascal_voc_d2/images/validation/{_KEY}.jpg",
                   f"pascal_voc_d2/annotations_pascal20/validation/{_KEY}.png"),
        "maftplus": (f"pascal/{_VOC}/JPEGImages/{_KEY}.jpg",
                     f"pascal/{_VOC}/annotations_detectron2_ovs/val/{_KEY}.png"),
        "maft": (f"{_VOC}/images_detectron2/{_KEY}.jpg", f"{_VOC}/annotations_ovs/val/{_KEY}.png"),
        "mmseg": (f"{_VOC}/JPEGImages/{_KEY}.jpg", f"{_VOC}/SegmentationClass/{_KEY}.png"),
    },
    "voc_20b": {
        "catseg": (f"{_VOC}/JPEGImages/{_KEY}.jpg", f"{_VOC}/{_D2}_bg/val/{_KEY}.png"),
    },
    "voc_21": {
        "fcclip": (f"pascal_voc_d2/images/validation/{_KEY}.jpg",
                   f"pascal_voc_d2/annotations_pascal21/validation/{_KEY}.png"),
        "mmseg": (f"{_VOC}/JPEGImages/{_KEY}.jpg", f"{_VOC}/SegmentationClass/{_KEY}.png"),
    },
    "context_59": {
        "catseg": (f"{_CTX}/JPEGImages/{_CKEY}.jpg", f"{_CTX}/{_D2}/pc59_val/{_CKEY}.png"),
        "san": (f"pcontext/val/image/{_CKEY}.jpg", f"pcontext/val/label/{_CKEY}.png"),
        "fcclip": (f"pascal_ctx_d2/images/validation/{_CKEY}.jpg",
                   f"pascal_ctx_d2/annotations_ctx59/validation/{_CKEY}.png"),
        "maftplus": (f"pascal/{_CTX}/val/image/{_CKEY}.jpg",
                     f"pascal/{_CTX}/{_D2}_ovs/pc59_val/{_CKEY}.png"),
        "maft": (f"{_CTX}/images/{_CKEY}.jpg", f"{_CTX}/{_D2}_ovs/pc59_val/{_CKEY}.png"),
        "mmseg": (f"{_CTX}/JPEGImages/{_CKEY}.jpg", f"{_CTX}/SegmentationClassContext/{_CKEY}.png"),
    },
    "context_459": {
        "catseg": (f"{_CTX}/JPEGImages/{_CKEY}.jpg", f"{_CTX}/{_D2}/pc459_val/{_CKEY}.tif"),
        "san": (f"pcontext_full/val/image/{_CKEY}.jpg", f"pcontext_full/val/label/{_CKEY}.tif"),
        "fcclip": (f"pascal_ctx_d2/images/validation/{_CKEY}.jpg",
                   f"pascal_ctx_d2/annotations_ctx459/validation/{_CKEY}.tif"),
        "maftplus": (f"pascal/{_CTX}/val/image/{_CKEY}.jpg",
                     f"pascal/{_CTX}/{_D2}_ovs/pc459_val/{_CKEY}.tif"),
        "maft": (f"{_CTX}/images/{_CKEY}.jpg", f"{_CTX}/{_D2}_ovs/pc459_val/{_CKEY}.tif"),
    },
    "coco_object_81": {
        "mmseg": ("coco_stuff164k/images/val2017/000000000139.jpg",
                  "coco_stuff164k/annotations/val2017/000000000139_instanceTrainIds.png"),
    },
}  # fmt: skip
_RAW_LISTS = {
    "voc_20": f"{_VOC}/ImageSets/Segmentation/val.txt",
    "voc_21": f"{_VOC}/ImageSets/Segmentation/val.txt",
    "context_59": f"{_CTX}/ImageSets/SegmentationContext/val.txt",
}


def write_layout(root: Path, dataset: str, style: str) -> np.ndarray:
    """Write one picture and label.

    Returns:
        The class indices that the product should read, (H, W).
    """
    picture, label = LAYOUTS[dataset][style]
    wide = label.endswith(".tif")
    ignore = 65535 if wide else 255
    truth = stripes([0, 1, 300 if wide else 19, ignore], np.uint16 if wide else np.uint8)
    stored = truth
    if style == "mmseg" and dataset in ("ade20k_150", "voc_20", "context_59"):
        stored = (truth + 1).astype(np.uint8)  # raw: class 0 is 1; 255 wraps to 0
    if dataset == "context_459":
        stored = np.where(truth == ignore, 459, truth).astype(np.uint16)  # as CAT-Seg registers it
    if dataset == "coco_object_81":
        stored = truth = stripes([0, 1, 80])
    write_picture(root / picture, 1)
    write_ids(root / label, stored, palette=style == "mmseg" and dataset.startswith("voc"))
    if style == "mmseg" and dataset in _RAW_LISTS:
        write_lines(root / _RAW_LISTS[dataset], [Path(picture).stem])
    return truth
