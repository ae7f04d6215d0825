"""Panoptic PNGs: a segment id per pixel, spread over the three colours; 0 is void."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..files.raster import open_raster, refuse_turned

LARGEST_ID = 2**24 - 1


def read_panoptic_png(path: str | Path) -> NDArray[np.int32]:
    """Read the segment ids of a panoptic PNG.

    Args:
        path: RGB file, id = R + 256 G + 65536 B; an alpha channel says nothing.

    Returns:
        (H, W) int32, 0 is void.

    Raises:
        UserError: if it can't be read, is not RGB, or has an EXIF tag that turns it.
    """
    with open_raster(path, "cannot read the panoptic PNG") as picture:
        refuse_turned(picture, path)
        picture.load()
    if picture.mode not in ("RGB", "RGBA"):
        raise UserError(
            f"{path}: a panoptic PNG holds segment ids in RGB, this one is of mode {picture.mode}"
        )
    # Four bytes per pixel are one little-endian number: R + 256 G + 65536 B + alpha.
    words = np.array(picture.convert("RGBA")).view("<u4")[..., 0]
    return (words & LARGEST_ID).astype(np.int32)


def segment_ids_from_color(rgb: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Decode the colours (H, W, 3) of a panoptic PNG to segment ids (H, W)."""
    red, green, blue = (rgb[..., channel].astype(np.int32) for channel in range(3))
    return red + 256 * green + 65536 * blue


def color_from_segment_ids(ids: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Encode segment ids (H, W) as the colours (H, W, 3) of a panoptic PNG.

    Raises:
        UserError: if an id does not fit.
    """
    if int(ids.max(initial=0)) > LARGEST_ID:
        raise UserError(f"segment id {int(ids.max())} does not fit into the 24 bits of a PNG")
    return np.stack([ids & 255, (ids >> 8) & 255, (ids >> 16) & 255], axis=-1).astype(np.uint8)
