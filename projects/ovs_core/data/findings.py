"""Looking one record of a dataset over: does the picture decode, do labels and segments fit it?

Whether something can be used is asked of the functions that training and evaluation read with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..files.pictures import load_picture, read_header
from ..words.label_space import LabelSpace
from .labels import canonical_labels, stored_labels
from .mapper import check_label_size, check_stated_size
from .segments import read_segment_ids
from .sources import first_ten

# Per pixel of a label file, by Pillow's mode; the others have 16.
_BITS = {"1": 1, "L": 8, "P": 8, "I": 32}


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
        captions: number of sentences about the picture.
        errors: what makes the record unusable or wrong.
        warnings: what is odd but known to occur.
    """

    size: tuple[int, int] = (0, 0)
    mode: str = ""
    label_format: str = ""
    values: NDArray[np.integer] = field(default_factory=lambda: np.zeros(0, np.int64))
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    classes: Counter[int] = field(default_factory=Counter)
    captions: int = 0
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def inspect_record(
    record: Mapping[str, Any], *, space: LabelSpace | None = None, decode: bool = True
) -> Finding:
    """Look one record over.

    Args:
        record: Detectron2 dataset dict.
        space: what its label values mean; None if it has no semantic labels.
        decode: decode the picture completely instead of reading its header only.
    """
    found = Finding(
        captions=len(record.get("captions", ())), warnings=list(record.get("notes", ()))
    )
    steps: list[Callable[[], None]] = [partial(_inspect_picture, record, found, decode)]
    if space is not None and "sem_seg_file_name" in record:
        steps.append(partial(_inspect_labels, record, found, space))
    if "pan_seg_file_name" in record:
        steps.append(partial(_inspect_segments, record, found))
    for step in steps:
        try:
            step()
        except UserError as error:
            found.errors.append(str(error))
    for box in record.get("annotations", ()):
        found.classes[box["category_id"]] += 1
    return found


def _inspect_picture(record: Mapping[str, Any], found: Finding, decode: bool) -> None:
    path = record["file_name"]
    if decode:  # first, as a run does, so that both say the same of a broken file
        found.warnings += [f"{path}: {note}" for note in load_picture(path).notes]
    header = read_header(path)
    found.size, found.mode = header.upright, header.mode
    if header.upright == header.stored and header.orientation != 1:  # sizes do not show it
        found.warnings.append(
            f"{path}: its EXIF tag turns it (value {header.orientation}), but not its labels; if "
            "they were drawn on the picture as stored, set INPUT.EXIF False"
        )
    check_stated_size(record, *found.size)


def _inspect_labels(record: Mapping[str, Any], found: Finding, space: LabelSpace) -> None:
    path = record["sem_seg_file_name"]
    labels = stored_labels(record, space.ignore_label)
    mode = read_header(path).mode
    found.label_format = f"{mode} {_BITS.get(mode, 16)} bit"
    found.values, found.counts = np.unique(labels, return_counts=True)
    if not ((found.values >= 0) & (found.values < space.num_classes)).any():
        found.warnings.append(f"{path}: no pixel is labelled")
    canonical_labels(record, labels, space)
    if any(found.size):
        check_label_size(path, record, labels.shape, found.size)


def _inspect_segments(record: Mapping[str, Any], found: Finding) -> None:
    path, segments = record["pan_seg_file_name"], record["segments_info"]
    found.classes.update(segment["category_id"] for segment in segments)
    ids, drawn = read_segment_ids(path, segments)
    if hidden := {segment["id"] for segment in segments} - drawn.keys():
        found.warnings.append(
            f"{path}: segments of the JSON without a pixel: {first_ten(hidden)}; each counts as "
            "missed in panoptic quality"
        )
    if any(found.size):
        check_label_size(path, record, ids.shape, found.size)
