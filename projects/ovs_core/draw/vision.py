"""How far colours are apart for people, those with a red-green deficiency among them."""

from __future__ import annotations

import numpy as np

# Machado, Oliveira and Fernandes (2009), severity 1: what linear RGB looks like without the cones
# for long waves, and without those for middle waves.
PROTANOPIA = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216),
              (-0.003882, -0.048116, 1.051998))  # fmt: skip
DEUTERANOPIA = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413),
                (-0.011820, 0.042940, 0.968881))  # fmt: skip
# Ottosson's Oklab (2020), in which equal distances look about equally large.
_TO_CONES = ((0.4122214708, 0.5363325363, 0.0514459929), (0.2119034982, 0.6806995451, 0.1073969566),
             (0.0883024619, 0.2817188376, 0.6299787005))  # fmt: skip
_TO_LAB = ((0.2104542553, 0.7936177850, -0.0040720468), (1.9779984951, -2.4285922050, 0.4505937099),
           (0.0259040371, 0.7827717662, -0.8086757660))  # fmt: skip


def oklab(
    colors: np.ndarray, deficiency: tuple[tuple[float, ...], ...] | None = None
) -> np.ndarray:
    """Bring colours into a space in which distances are those that people see.

    Args:
        colors: (..., 3) uint8 sRGB.
        deficiency: ``PROTANOPIA`` or ``DEUTERANOPIA``; None for three kinds of cones.

    Returns:
        (..., 3) float64: lightness 0..1, and the two axes of colour.
    """
    share = np.asarray(colors, dtype=np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    if deficiency is not None:
        linear = np.clip(linear @ np.array(deficiency).T, 0, 1)
    return np.cbrt(linear @ np.array(_TO_CONES).T) @ np.array(_TO_LAB).T


def separation(colors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distance of each colour from each other one, for whom they look most alike.

    Args:
        colors: (N, 3) uint8 sRGB.
        others: (M, 3) uint8 sRGB.

    Returns:
        (N, M) distances in Oklab; black and white are 1 apart.
    """
    views = [
        np.linalg.norm(oklab(colors, kind)[:, None] - oklab(others, kind)[None], axis=-1)
        for kind in (None, PROTANOPIA, DEUTERANOPIA)
    ]
    return np.minimum.reduce(views)
