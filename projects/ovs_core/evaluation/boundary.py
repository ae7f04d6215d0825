"""Boundary maps for Boundary IoU as Detectron2 defines it: labels eroded as grey pictures.

From 16 classes on Detectron2's own figures differ: it indexes pairs of labels with 8 bits, which
overflow.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import minimum_filter

MAX_CLASSES = 254  # Detectron2 computes it with 8-bit maps only


def boundary_map(labels: np.ndarray, ratio: float = 0.02) -> np.ndarray:
    """Label map minus its erosion: nonzero where a smaller label or the picture's edge is near.

    Args:
        labels: (H, W) integers.
        ratio: width of the border relative to the picture's diagonal.

    Returns:
        (H, W) of the same type.
    """
    width = max(1, round(ratio * float(np.hypot(*labels.shape))))
    # d erosions by a 3 x 3 square inside a frame of zeros are one by a (2d + 1) square.
    return labels - minimum_filter(labels, size=2 * width + 1, mode="constant", cval=0)
