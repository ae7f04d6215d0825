"""The frame of CLIPtrase's published tables: short side S, then the central S x S.

Pictures and labels go through the same steps, so that a prediction on the crop can be scored.
"""

from __future__ import annotations

import numpy as np
from PIL import Image


def square_crop(image: Image.Image, side: int, *, labels: bool = False) -> Image.Image:
    """Resize the short side and cut out the centre.

    Args:
        image: picture or label map.
        side: S.
        labels: whether it is a label map, which is resized by nearest neighbour instead of bicubic.

    Returns:
        S x S image of the same mode.
    """
    width, height = image.size
    short = min(width, height)
    # The long side is rounded down, and the offset as Python rounds: 20.5 -> 20, 21.5 -> 22.
    new_width, new_height = (side if n == short else int(side * n / short) for n in (width, height))
    resample = Image.Resampling.NEAREST if labels else Image.Resampling.BICUBIC
    size = (new_width, new_height)
    resized = image if image.size == size else image.resize(size, resample)
    left, top = (int(round((n - side) / 2)) for n in size)
    return resized.crop((left, top, left + side, top + side))


def crop_labels(labels: np.ndarray, side: int) -> np.ndarray:
    """Bring a label map to the crop.

    Args:
        labels: (H, W) integers of at most 32 bits, best as they are stored.
        side: S.

    Returns:
        (S, S) int32.
    """
    # Pillow takes 16-bit pictures (mode I;16) through another resize, whose rounding differs by a
    # row or column at some sizes; the release gives it the files as they are.
    wide = labels if labels.dtype == np.uint16 else labels.astype(np.int32)
    cropped = square_crop(Image.fromarray(wide), side, labels=True)
    return np.asarray(cropped).astype(np.int32)
