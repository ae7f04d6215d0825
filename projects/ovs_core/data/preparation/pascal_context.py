"""PASCAL Context: 59 classes from the merged annotation, 459 from the MATLAB files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from ...errors import UserError
from ..label_rules import convert_labels
from ..sources import files_by_key, files_of_keys, read_json, read_listing
from .conversion import first_existing
from .jobs import Job, run_jobs
from .summary import Summary

VOC = "VOCdevkit/VOC2010"
PUBLISHED = {"train": 4996, "val": 5104}
_logger = logging.getLogger(__name__)


def merged_mask(height: int, width: int, annotations: tuple[tuple[int, Any], ...]) -> np.ndarray:
    """Paint the annotations of a picture in file order; later ones cover earlier ones.

    Args:
        height: of the picture.
        width: of the picture.
        annotations: (category id, RLE or polygons) in the order of the file.

    Returns:
        (H, W) uint16 ids of the 459-class space, 0 where nothing is annotated.
    """
    from pycocotools import mask as rle

    mask = np.zeros((height, width), np.uint16)
    for category, segmentation in annotations:
        if isinstance(segmentation, list):
            encoded = rle.merge(rle.frPyObjects(segmentation, height, width))
        elif isinstance(segmentation["counts"], list):
            encoded = rle.frPyObjects(segmentation, height, width)
        else:
            encoded = segmentation
        mask[rle.decode(encoded).astype(bool)] = category
    return mask


def label_59(height: int, width: int, annotations: tuple[tuple[int, Any], ...]) -> np.ndarray:
    """Class indices 0..58 of a picture, background 255: (H, W) uint8."""
    return convert_labels(merged_mask(height, width, annotations), "context_59")


def prepare_59(
    root: Path, split: str, *, listing: Path | None = None, workers: int | None = None
) -> Summary:
    """Write ``annotations_detectron2/pc59_<split>`` from ``trainval_merged.json``.

    The JSON may name one validation picture more than the published 5,104, so a list of the split
    is applied when there is one.

    Args:
        root: folder of the datasets.
        split: ``train`` or ``val``.
        listing: file names of the split; default MMSegmentation's list, if it is there.
        workers: see ``run_jobs``.

    Returns:
        The summary.
    """
    base = root / VOC
    path = first_existing([base / "trainval_merged.json"], "the merged annotation")
    content = read_json(path)
    pictures = {p["image_id"]: p for p in content["images"] if p["phase"] == split}
    chosen = _in_list(base, split, listing, {Path(p["file_name"]).stem for p in pictures.values()})
    masks: dict[Any, list[tuple[int, Any]]] = {image_id: [] for image_id in pictures}
    for annotation in content["annos_segmentation"]:
        if annotation["image_id"] in masks:
            entry = (annotation["category_id"], annotation["segmentation"])
            masks[annotation["image_id"]].append(entry)
    jobs = []
    for image_id, picture in pictures.items():
        key = Path(picture["file_name"]).stem
        if key in chosen:
            target = base / "annotations_detectron2" / f"pc59_{split}" / f"{key}.png"
            arguments = (picture["height"], picture["width"], tuple(masks[image_id]))
            jobs.append(Job(target, label_59, arguments))
    return run_jobs(jobs, title=f"{split} labels", recipe="context_59", workers=workers)


def label_459(path: str) -> np.ndarray:
    """Read ``LabelMap`` of a ``.mat`` file as class indices, background 65535: (H, W) uint16."""
    try:
        raw = loadmat(path, variable_names=["LabelMap"])["LabelMap"]
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        raise UserError(f"{path}: no label file of PASCAL Context ({error})") from error
    return convert_labels(np.asarray(raw, dtype=np.uint16), "context_459")


def prepare_459(
    root: Path,
    split: str,
    *,
    raw: Path | None = None,
    listing: Path | None = None,
    workers: int | None = None,
) -> Summary:
    """Write ``annotations_detectron2/pc459_<split>`` (16-bit TIFF).

    Args:
        root: folder of the datasets.
        split: ``train`` or ``val``.
        raw: folder of the ``.mat`` files; default ``VOCdevkit/VOC2010/trainval``.
        listing: file names of the split; default MMSegmentation's list, else the 59-class labels.
        workers: see ``run_jobs``.

    Returns:
        The summary.
    """
    base = root / VOC
    folder = raw or first_existing(
        [base / "trainval"], "the folder of .mat files (trainval.tar.gz)"
    )
    found = files_of_keys(folder, ".mat", sorted(_split_of_459(base, split, listing)))
    target = base / "annotations_detectron2" / f"pc459_{split}"
    jobs = [Job(target / f"{key}.tif", label_459, (path,)) for key, path in found.items()]
    return run_jobs(jobs, title=f"{split} labels", recipe="context_459", workers=workers)


def _default_listing(base: Path, split: str) -> Path:
    return base / "ImageSets" / "SegmentationContext" / f"{split}.txt"


def _in_list(base: Path, split: str, listing: Path | None, named: set[str]) -> set[str]:
    path = listing or _default_listing(base, split)
    if listing is None and not path.is_file():
        _logger.warning(
            "%s: no list of the split (%s); all %d pictures of the phase are used, published: %d",
            split, path, len(named), PUBLISHED[split],
        )  # fmt: skip
        return named
    keys = set(read_listing(path))
    chosen = keys & named
    counts = (len(named), len(keys), path, len(chosen))
    _logger.info("%s: %d in the annotation, %d in %s, %d in both", split, *counts)
    return chosen


def _split_of_459(base: Path, split: str, listing: Path | None) -> set[str]:
    path = listing or _default_listing(base, split)
    if listing or path.is_file():
        return set(read_listing(path))
    folder = base / "annotations_detectron2" / f"pc59_{split}"
    if folder.is_dir():
        return set(files_by_key(folder, (".png",)))
    raise UserError(
        f"nothing says which pictures are '{split}'. Looked for:",
        f"  {path}",
        f"  {folder}",
        "Run `ovsuite prepare context` first, or give --list FILE.",
    )
