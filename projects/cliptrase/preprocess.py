"""Resizing and cropping of the stand-alone protocol: what made the published tables.

Picture and labels are brought to a short side of S pixels and cut to the central S x S; the crop is
what is labelled and scored.
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
    size = tuple(side if n == short else int(side * n / short) for n in (width, height))
    resample = Image.Resampling.NEAREST if labels else Image.Resampling.BICUBIC
    resized = image if image.size == size else image.resize(size, resample)
    left, top = (int(round((n - side) / 2)) for n in size)
    return resized.crop((left, top, left + side, top + side))


def crop_labels(labels: np.ndarray, side: int) -> np.ndarray:
    """Bring a label map to the crop.

    Args:
        labels: (H, W) integers up to 65535, or -1.
        side: S.

    Returns:
        (S, S) int64.
    """
    # Mode I holds 32 bits, so that no label of a large vocabulary is lost.
    image = Image.fromarray(labels.astype(np.int32), mode=None)
    return np.asarray(square_crop(image, side, labels=True)).astype(np.int64)
