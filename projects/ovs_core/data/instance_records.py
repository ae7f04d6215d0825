"""From a COCO instance file to Detectron2 dataset dicts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

from ..files.pictures import read_header
from .annotations import (
    InstanceAnnotation,
    InstanceSchema,
    ListedPicture,
    read_annotations,
    refuse_faults,
)
from .annotations.masks import Measured, faults_of, measure
from .records import CategoryIds, Record, refuse_missing
from .sources import Source, files_by_key

logger = logging.getLogger(__name__)

Size = tuple[int, int]  # height, width


def instance_records(
    source: Source,
    *,
    dataset_name: str,
    categories: CategoryIds,
    hide: frozenset[int] = frozenset(),
) -> list[Record]:
    """Read a COCO instance JSON.

    A size, a box or an area that the file lacks is measured. Objects that cover nothing (a box
    without width or height, polygons of two points) are left out, in training and in evaluation;
    the log counts them, and the record names them in ``notes``.

    Args:
        source: with ``images`` and ``annotations``.
        dataset_name: written into each record.
        categories: ids of the JSON; boxes of ``drop`` ids are left out.
        hide: class indices whose boxes are left out (unseen classes in training).

    Returns:
        One dict per picture of the JSON, with ``annotations`` in Detectron2's form.

    Raises:
        UserError: names the fields of the JSON that are wrong, or pictures that are missing.
    """
    path = source.path_of("annotations")
    content = read_annotations(path, InstanceSchema)
    files = files_by_key(source.images, ("",), recursive=source.recursive)
    refuse_missing(source.images, {p.file_name for p in content.images} - files.keys(), path)
    sizes = {p.id: _size(p, files[p.file_name]) for p in content.images}
    refuse_faults(path, _faults(content, sizes, categories))
    boxes: dict[int | str, list[Record]] = {p.id: [] for p in content.images}
    notes: dict[int | str, list[str]] = {p.id: [] for p in content.images}
    for annotation in content.annotations:
        if annotation.category_id in categories.drop:
            continue
        found = measure(annotation, *sizes[annotation.image_id])
        index = categories.index[annotation.category_id]
        if found.empty:
            notes[annotation.image_id].append(
                f"{path}: annotation {annotation.id} is left out: {found.empty}"
            )
        elif index not in hide:
            boxes[annotation.image_id].append(_box(found, annotation, index))
    if count := sum(map(len, notes.values())):
        logger.warning("%s: %d annotations cover nothing and are left out", path, count)
    for p in content.images:
        notes[p.id] += _turned(p, files[p.file_name])
    return [
        {
            "file_name": files[p.file_name],
            "image_id": p.id,
            "height": sizes[p.id][0],
            "width": sizes[p.id][1],
            "annotations": boxes[p.id],
            "dataset_name": dataset_name,
            **({"notes": notes[p.id]} if notes[p.id] else {}),
        }
        for p in content.images
    ]


def _size(picture: ListedPicture, path: str) -> Size:
    if picture.height is None or picture.width is None:
        return read_header(path).upright
    return picture.height, picture.width


def _turned(picture: ListedPicture, path: str) -> list[str]:
    """Say that a picture is turned by a quarter where no stated size could contradict it."""
    if picture.height is not None and picture.width is not None:
        return []
    header = read_header(path)
    if header.upright == header.stored:
        return []
    return [
        f"{path}: its EXIF tag turns it (value {header.orientation}) and the annotation file "
        "states no size; if the objects were drawn on the picture as stored, set INPUT.EXIF False"
    ]


def _faults(
    content: InstanceSchema, sizes: Mapping[int | str, Size], categories: CategoryIds
) -> Iterator[str]:
    masked = any(annotation.segmentation for annotation in content.annotations)
    known = categories.index.keys() | categories.drop
    for place, annotation in enumerate(content.annotations):
        where = f"annotations[{place}]"
        if annotation.category_id not in known:
            yield f"{where}.category_id: {annotation.category_id} is not in the class list"
        if masked and not annotation.segmentation:
            yield (
                f"{where}.segmentation: is missing or empty, though other annotations have a mask; "
                "draw it, or take all masks out to work with boxes alone"
            )
        for fault in faults_of(annotation, *sizes[annotation.image_id]):
            yield f"{where}.{fault}"


def _box(found: Measured, annotation: InstanceAnnotation, index: int) -> Record:
    from detectron2.structures import BoxMode  # preparing datasets needs no Detectron2

    mask = {} if found.segmentation is None else {"segmentation": found.segmentation}
    return {
        "bbox": found.bbox,
        "bbox_mode": BoxMode.XYWH_ABS,
        "area": found.area,
        "iscrowd": int(annotation.iscrowd),
        "category_id": index,
        **mask,
    }
