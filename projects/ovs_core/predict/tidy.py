"""Taking small islands out of label maps.

Letters: H x W picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from ..errors import UserError


def check_min_area(share: float) -> float:
    """Refuse what is no share of a picture.

    Raises:
        UserError: if it is not 0 or more and below 1.
    """
    if not 0 <= share < 1:
        raise UserError(f"min_area {share}: is a share of the picture, from 0 to below 1")
    return share


def absorb_islands(labels: np.ndarray, share: float) -> np.ndarray:
    """Give islands that are small the label of the nearest pixel that is on none.

    Args:
        labels: (H, W) whole numbers >= 0.
        share: islands of less than this share of the picture are small. An island is a group of
            pixels of one label that touch along their sides.

    Returns:
        (H, W); ``labels`` itself where no island is small, or all are.
    """
    least, small = share * labels.size, np.zeros(labels.shape, bool)
    for value in np.flatnonzero(np.bincount(labels.ravel())):
        islands, _ = ndimage.label(labels == value)
        areas = np.bincount(islands.ravel())
        areas[0] = labels.size  # what is not of this label
        small |= (areas < least)[islands]
    if small.all() or not small.any():
        return labels
    rows, columns = ndimage.distance_transform_edt(
        small, return_distances=False, return_indices=True
    )
    absorbed: np.ndarray = labels[rows, columns]
    return absorbed


def drop_segments(
    ids: np.ndarray, info: Sequence[dict[str, Any]], share: float
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Take segments that are small out of a panoptic result.

    Args:
        ids: (H, W) segment per pixel, 0 for none.
        info: Detectron2's list of the segments.
        share: segments of less than this share of the picture are small.

    Returns:
        Ids, 0 where a segment was dropped, and the list of those that are left.
    """
    highest = max([0, *(int(segment["id"]) for segment in info)])
    areas = np.bincount(ids.ravel(), minlength=highest + 1)
    kept = [segment for segment in info if areas[segment["id"]] >= share * ids.size]
    table = np.zeros(len(areas), ids.dtype)
    for segment in kept:
        table[segment["id"]] = segment["id"]
    return table[ids], kept
