"""Long strips, which no network was made for: cut into pieces, and the results joined again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import UserError

LONGEST = 8  # times as long as wide; what is longer is cut into pieces
PIECE = 4  # times as long as wide
MOST_TILES = 256


def split(image: np.ndarray) -> list[np.ndarray]:
    """Cut an (H, W, 3) picture along its longer side; one of usual shape stays whole.

    Raises:
        UserError: if a strip is so narrow that the pieces would show nothing.
    """
    short, long = sorted(image.shape[:2])
    if long <= LONGEST * short:
        return [image]
    count = -(-long // (PIECE * short))
    if count > MOST_TILES:
        height, width = image.shape[:2]
        raise UserError(
            f"a picture of {height} x {width} pixels is too narrow to be segmented; the longer "
            f"side may have {PIECE * MOST_TILES} times the length of the shorter one"
        )
    return np.array_split(image, count, axis=split_axis(image))


def split_axis(image: np.ndarray) -> int:
    """Axis along which ``split`` cuts: 0 for a tall picture, else 1."""
    return int(image.shape[0] <= image.shape[1])


def join(maps: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """Put the maps of the pieces together; a single one is not copied."""
    return maps[0] if len(maps) == 1 else np.concatenate(maps, axis=axis)


def join_segments(
    parts: Sequence[tuple[Tensor, list[dict[str, Any]]]], axis: int
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Join Detectron2's ``panoptic_seg`` of the pieces.

    Args:
        parts: per piece (H, W) ids, 0 for none, and the list of segments.
        axis: along which the picture was cut.

    Returns:
        (H, W) int32 ids and one list. Things are numbered on; stuff of one class stays one segment.
    """
    maps: list[np.ndarray] = []
    joined: list[dict[str, Any]] = []
    stuff: dict[int, int] = {}  # class -> its one segment
    for ids, info in parts:
        table = np.zeros(max([0, *(segment["id"] for segment in info)]) + 1, np.int32)
        for segment in info:
            label = segment["category_id"]
            number = None if segment["isthing"] else stuff.get(label)
            if number is None:
                number = len(joined) + 1
                joined.append({**segment, "id": number})
                stuff.setdefault(label, number)
            table[segment["id"]] = number
        maps.append(table[ids.cpu().numpy()])
    return join(maps, axis), joined
