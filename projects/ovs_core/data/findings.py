"""Looking one record of a dataset over: does the picture decode, do labels and segments fit it?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..files.pictures import load_picture, read_header
from ..words.label_space import LabelSpace
from .labels import stored_labels
from .panoptic_png import read_panoptic_png
from .sources import first_ten

_BITS = {"L": 8, "P": 8, "I": 32}  # per pixel of a label file, by Pillow's mode; the others have 16


@dataclass
class Finding:
    """What one record was found to hold.

    Attributes:
        size: (height, width) of the picture.
        mode: Pillow's mode of the picture.
        label_format: mode and bits of the label file, e.g. ``L 8 bit``; "" without labels.
        values: label values that occur, as class indices.
        counts: pixels of each.
        classes: class index -> number of segments or boxes, for panoptic and instance records.
        errors: what makes the record unusable or wrong.
        warnings: what is odd but known to occur.
    """

    size: tuple[int, int] = (0, 0)
    mode: str = ""
    label_format: str = ""
    values: NDArray[np.integer] = field(default_factory=lambda: np.zeros(0, np.int64))
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    classes: Counter[int] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def inspect_record(
    record: Mapping[str, Any], *, space: LabelSpace | None = None, decode: bool = False
) -> Finding:
    """Look one record over.

    Args:
        record: Detectron2 dataset dict.
        space: what its label values mean; None if it has no semantic labels.
        decode: decode the picture completely.
    """
    found = Finding()
    try:
        _inspect_picture(record, found, decode)
        if space is not None and "sem_seg_file_name" in record:
            _inspect_labels(record, found, space)
        if "pan_seg_file_name" in record:
            _inspect_segments(record, found)
    except UserError as error:
        found.errors.append(str(error))
    for box in record.get("annotations", ()):
        found.classes[box["category_id"]] += 1
    return found


def _inspect_picture(record: Mapping[str, Any], found: Finding, decode: bool) -> None:
    path = record["file_name"]
    header = read_header(path)
    found.size, found.mode = header.upright, header.mode
    if decode:
        found.warnings += [f"{path}: {note}" for note in load_picture(path).notes]
    stated = (record.get("height", found.size[0]), record.get("width", found.size[1]))
    if stated != found.size:
        found.errors.append(
            f"{path}: is {found.size[0]} x {found.size[1]}, the annotation says {stated}"
        )


def _inspect_labels(record: Mapping[str, Any], found: Finding, space: LabelSpace) -> None:
    path = record["sem_seg_file_name"]
    labels = stored_labels(record)
    mode = read_header(path).mode
    bits = _BITS.get(mode, 16)
    found.label_format = f"{mode} {bits} bit"
    if bits == 8 and space.num_classes > 256:
        found.errors.append(f"{path}: 8-bit labels cannot hold {space.num_classes} classes")
    if labels.shape != found.size:
        found.errors.append(
            f"{path}: is {labels.shape[0]} x {labels.shape[1]}, its picture "
            f"{found.size[0]} x {found.size[1]}"
        )
    _inspect_turns(record, found)
    found.values, found.counts = np.unique(labels, return_counts=True)
    inside = (found.values >= 0) & (found.values < space.num_classes)
    if wrong := space.strangers(found.values):
        found.errors.append(
            f"{path}: values {first_ten(wrong)} are neither in 0..{space.num_classes - 1} "
            f"nor the ignore value {space.ignore_label}"
        )
    if not inside.any():
        found.warnings.append(f"{path}: no pixel is labelled")


def _inspect_turns(record: Mapping[str, Any], found: Finding) -> None:
    """Warn where an EXIF tag turns the picture in a way that the sizes do not show."""
    picture, label = read_header(record["file_name"]), read_header(record["sem_seg_file_name"])
    hidden = picture.upright == picture.stored  # a half turn, a mirror, or a square
    if hidden and picture.orientation not in (1, label.orientation):
        found.warnings.append(
            f"{record['file_name']}: its EXIF tag turns it (value {picture.orientation}), but not "
            f"its labels; if they were drawn on the picture as stored, set INPUT.EXIF False"
        )


def _inspect_segments(record: Mapping[str, Any], found: Finding) -> None:
    path = record["pan_seg_file_name"]
    ids = read_panoptic_png(path)
    if ids.shape != found.size:
        found.errors.append(f"{path}: is {ids.shape}, its picture {found.size}")
    drawn = set(np.unique(ids).tolist()) - {0}
    stated = [segment["id"] for segment in record["segments_info"]]
    if len(set(stated)) < len(stated):
        found.errors.append(f"{path}: a segment id occurs twice in the JSON")
    if drawn - set(stated):
        found.errors.append(f"{path}: segments not in the JSON: {first_ten(drawn - set(stated))}")
    if set(stated) - drawn:
        hidden = first_ten(set(stated) - drawn)
        found.warnings.append(f"{path}: segments of the JSON without a pixel: {hidden}")
    found.classes.update(segment["category_id"] for segment in record["segments_info"])
