"""ADE20K-150: panoptic and instance annotations from the semantic maps and the instance archive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...files.pictures import read_header
from ...files.raster import open_raster
from ...words.class_lists import load_class_list
from ..label_rules import convert_labels
from ..labels import read_label_file
from ..panoptic_png import color_from_segment_ids
from ..sources import files_by_key, first_ten
from .claims import write_annotations
from .conversion import convert_folder
from .jobs import Job, run_jobs
from .summary import Summary, extent

ARCHIVE = "ADEChallengeData2016"
Segment = dict[str, Any]
FOLDERS = {"train": "training", "val": "validation"}


def prepare_semantic(root: Path, split: str, workers: int | None = None) -> Summary:
    """Write ``annotations_detectron2``: raw value - 1, "other" ignored."""
    base, folder = root / ARCHIVE, FOLDERS[split]
    return convert_folder(
        base / "annotations" / folder,
        base / "annotations_detectron2" / folder,
        rules=("zero_is_ignore",),
        title=f"{folder} labels",
        workers=workers,
    )


def panoptic_maps(
    semantic: str, instance: str, exact: bool
) -> tuple[NDArray[np.uint8], list[Segment]]:
    """Make the panoptic annotation of one picture.

    Stuff segments are painted first, things over them; pixels that the semantic map calls a thing
    and no instance covers stay void. The published preparation measures stuff before the things
    hide part of it and keeps stuff that is hidden completely; panoptic quality reads these areas.

    Args:
        semantic: path of the raw semantic map.
        instance: path of the instance picture (R: class, G: number).
        exact: measure what is visible instead, and drop what is not.

    Returns:
        (H, W, 3) uint8 segment ids as colours, and the list of segments.
    """
    classes = load_class_list("ade20k_150")
    labels = convert_labels(read_label_file(semantic), "zero_is_ignore")
    things = set(classes.things)
    ids = np.zeros(labels.shape, np.int32)
    segments: list[Segment] = []
    stuff = [int(v) for v in np.unique(labels) if v != 255 and int(v) not in things]
    for category in stuff:
        segments.append(_paint(ids, labels == category, len(segments) + 1, category))
    for mask, category in instance_masks(instance):
        segments.append(_paint(ids, mask, len(segments) + 1, category))
    if exact:
        segments = [
            segment | extent(ids == segment["id"])
            for segment in segments
            if (ids == segment["id"]).any()
        ]
    return color_from_segment_ids(ids), segments


def _paint(ids: np.ndarray, mask: np.ndarray, number: int, category: int) -> dict[str, Any]:
    ids[mask] = number
    return {"id": number, "category_id": category, "iscrowd": 0, **extent(mask)}


def instance_masks(path: str) -> Iterator[tuple[np.ndarray, int]]:
    """Give mask and semantic class index of every instance of a picture, by ascending number.

    Raises:
        UserError: if the file cannot be read, is no RGB picture, or names an unknown class.
    """
    with open_raster(path, "cannot read the instance picture") as picture:
        if picture.mode != "RGB":
            raise UserError(f"{path}: mode {picture.mode}; expected the RGB instance picture")
        colours = np.asarray(picture)
    to_index = load_class_list("ade20k_150").ids("instance_id")
    for number in np.unique(colours[..., 1]):
        if number == 0:
            continue
        mask = colours[..., 1] == number
        kind = int(np.bincount(colours[..., 0][mask]).argmax())
        if kind not in to_index:
            raise UserError(f"{path}: instance {number} has class {kind}; expected 1 to 100")
        yield mask, to_index[kind]


def prepare_panoptic(
    root: Path, split: str, *, exact: bool = False, workers: int | None = None
) -> Summary:
    """Write ``ade20k_panoptic_{train,val}`` and its JSON."""
    base = root / ARCHIVE
    pairs = _pairs(base, split)
    jobs = [
        Job(
            base / f"ade20k_panoptic_{split}" / f"{key}.png",
            panoptic_maps,
            (*pair, exact),
            noted=True,
        )
        for key, pair in pairs.items()
    ]
    recipe = f"ade20k panoptic, {'exact' if exact else 'published'} areas"
    summary = run_jobs(jobs, title=f"{split} panoptic", recipe=recipe, workers=workers)
    annotations = [
        {"image_id": key, "file_name": f"{key}.png", "segments_info": segments}
        for key, segments in summary.notes.items()
    ]
    content = {"images": _images(base, split, pairs), "annotations": annotations}
    classes = load_class_list("ade20k_150").classes
    content["categories"] = [
        {"id": i, "name": c["name"], "isthing": int(c["isthing"]), "color": c["color"]}
        for i, c in enumerate(classes)
    ]
    write_annotations(base / f"ade20k_panoptic_{split}.json", content)
    return summary


def prepare_instances(root: Path, split: str) -> int:
    """Write ``ade20k_instance_{train,val}.json`` in COCO's form; gives the number of instances."""
    from pycocotools import mask as rle

    base = root / ARCHIVE
    pairs = _pairs(base, split)
    annotations: list[dict[str, Any]] = []
    for key, (_, instance) in pairs.items():
        for mask, category in instance_masks(instance):
            encoded = rle.encode(np.asfortranarray(mask))
            encoded["counts"] = encoded["counts"].decode("ascii")
            annotations.append({
                "id": len(annotations) + 1, "image_id": key, "category_id": category, "iscrowd": 0,
                "segmentation": encoded, **extent(mask),
            })  # fmt: skip
    names = load_class_list("ade20k_150")
    content = {
        "images": _images(base, split, pairs),
        "annotations": annotations,
        "categories": [{"id": i, "name": names.names[i]} for i in names.things],
    }
    write_annotations(base / f"ade20k_instance_{split}.json", content)
    return len(annotations)


def _pairs(base: Path, split: str) -> dict[str, tuple[str, str]]:
    folder = FOLDERS[split]
    semantic = files_by_key(base / "annotations" / folder, (".png",))
    instance = files_by_key(base / "annotations_instance" / folder, (".png",))
    odd = semantic.keys() ^ instance.keys()
    if odd:
        raise UserError(
            f"{base}: annotations/{folder} and annotations_instance/{folder} disagree on "
            f"{len(odd)} files: {first_ten(odd)}"
        )
    return {key: (semantic[key], instance[key]) for key in semantic}


def _images(base: Path, split: str, pairs: dict[str, tuple[str, str]]) -> list[dict[str, Any]]:
    images = []
    for key, (semantic, _) in pairs.items():
        height, width = read_header(semantic).stored
        images.append({"id": key, "file_name": f"{key}.jpg", "height": height, "width": width})
    return images
