"""The segments of a picture: what its panoptic PNG draws and what its annotation lists.

Mappers, evaluators and the dataset check ask here, so that all of them refuse the same files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .panoptic_png import read_panoptic_png
from .sources import first_ten


def read_segment_ids(
    path: str | Path, segments: Sequence[Mapping[str, Any]]
) -> tuple[NDArray[np.int32], dict[int, int]]:
    """Read a panoptic PNG and hold it against the list of its segments.

    Args:
        path: of the PNG.
        segments: ``id`` and maybe ``area`` of each. An area above the pixels that are drawn is
            usual (another segment hides a part); one below would make IoUs above 1.

    Returns:
        (H, W) segment ids, 0 is void, and the pixels of each segment that is drawn.

    Raises:
        UserError: if pixels have an id that is not listed, or more pixels than the stated area.
    """
    ids = read_panoptic_png(path)
    found, counts = np.unique(ids, return_counts=True)
    drawn = dict(zip(found.tolist(), counts.tolist(), strict=True))
    drawn.pop(0, None)
    if strange := drawn.keys() - {segment["id"] for segment in segments}:
        raise UserError(f"{path}: segments not in the JSON: {first_ten(strange)}")
    for segment in segments:
        pixels = drawn.get(segment["id"], 0)
        if segment.get("area", pixels) < pixels:
            raise UserError(
                f"{path}: {pixels} pixels belong to segment {segment['id']}, but the JSON states "
                f"an area of {segment['area']:g}; correct the area, or take it out to have the "
                "pixels counted"
            )
    return ids, drawn


def labels_of_segments(record: Mapping[str, Any], ignore: int) -> NDArray[np.int32]:
    """Give the class of each pixel of a panoptic record.

    Args:
        record: with ``pan_seg_file_name`` and ``segments_info``.
        ignore: value of void pixels.

    Returns:
        (H, W) class indices.

    Raises:
        UserError: as ``read_segment_ids``.
    """
    ids, _ = read_segment_ids(record["pan_seg_file_name"], record["segments_info"])
    classes = {s["id"]: s["category_id"] for s in record["segments_info"]} | {0: ignore}
    found, places = np.unique(ids, return_inverse=True)
    values = np.array([classes[i] for i in found.tolist()], np.int32)
    return values[places].reshape(ids.shape)
