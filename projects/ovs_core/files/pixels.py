"""What values mean as pixels: from whatever a picture holds to 8-bit RGB.

* 8-bit values are taken as they are; of a mask, True is white.
* 16-bit values (``uint16``): the bit depth is what the file states, or else what the data shows: 16
  where all values are multiples of 257, which 8-bit values become in 16 bits, else the smallest of
  8, 10, 12, 14 and 16 that holds the largest value. The eight highest bits of that depth are kept.
  A depth below 16 that was not stated is said in a note.
* Other whole numbers are 8-bit values in a wider type; beyond 0..255 they are refused.
* Floats up to 1.5 are 0..1, and what is above 1 is white; those up to 255 are 0..255; all others
  are refused. Overshoot that shows is said in a note.
* Negative values are refused: a picture that was normalised has lost what it looked like.
* Transparency is laid on white.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import UserError

DEPTHS = (8, 10, 12, 14, 16)  # bits of a value in a 16-bit picture
OVERSHOOT = 1.5  # the largest value of a float picture in 0..1, as resizing leaves it
DARK = 16  # a float picture in 0..255 that ends below is said to be almost black
_NAMES = "a picture array must be (H, W, 3), (H, W) or a tensor (3, H, W)"

Notes = tuple[str, ...]


def to_rgb(values: NDArray[Any], *, bits: int | None = None) -> tuple[NDArray[np.uint8], Notes]:
    """Bring the values of a picture to 8-bit RGB; the rules stand at the head of this file.

    Args:
        values: (H, W), (H, W, 1), grey and alpha (H, W, 2), RGB (H, W, 3) or RGBA (H, W, 4).
        bits: bit depth that the file states, for 16-bit values.

    Returns:
        (H, W, 3) uint8 of its own, and notes on what was decided.

    Raises:
        UserError: for values or a shape that no picture has.
    """
    values = values[..., None] if values.ndim == 2 else values
    if values.ndim != 3 or values.shape[-1] not in (1, 2, 3, 4) or values.size == 0:
        raise UserError(f"{_NAMES}; got shape {values.shape}")
    has_alpha = values.shape[-1] in (2, 4)
    colours, alpha = (values[..., :-1], values[..., -1:]) if has_alpha else (values, None)
    seen, notes = _to_uint8(colours, bits)
    if seen.shape[-1] == 1:
        seen = np.repeat(seen, 3, axis=-1)
    if alpha is not None:
        seen = _on_white(np.concatenate([seen, _to_uint8(alpha, bits)[0]], axis=-1))
    return seen.copy(), notes


def _on_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    picture = Image.fromarray(np.ascontiguousarray(rgba))
    white = Image.new("RGBA", picture.size, "white")
    return np.asarray(Image.alpha_composite(white, picture).convert("RGB"))


def _to_uint8(values: NDArray[Any], bits: int | None) -> tuple[NDArray[np.uint8], Notes]:
    kind = values.dtype.kind
    if values.dtype == np.uint8:
        return values, ()
    if kind == "b":
        return values.astype(np.uint8) * 255, ()
    if kind == "f":
        return _from_floats(values.astype(np.float64))
    if kind not in "iu":
        raise UserError(f"a picture holds numbers; got values of type {values.dtype}")
    if kind == "u" and values.dtype.itemsize == 2:
        return _from_16_bits(values, bits)
    lowest, highest = int(values.min()), int(values.max())
    if lowest < 0:
        raise _negative(lowest)
    if highest > 255:
        raise UserError(
            f"whole numbers up to {highest} in {values.dtype} could mean any depth; give 8-bit "
            "values 0..255, or 16-bit ones as uint16"
        )
    return values.astype(np.uint8), ()


def _from_16_bits(values: NDArray[Any], stated: int | None) -> tuple[NDArray[np.uint8], Notes]:
    highest = int(values.max())
    from_8_bits = not (values % 257).any()
    shown = 16 if from_8_bits else next(depth for depth in DEPTHS if highest < 2**depth)
    bits = stated or shown
    notes: Notes = ()
    if bits < 16 and stated is None:
        notes = (f"its 16-bit values fill {bits} bits only and were read as {bits}-bit",)
    return np.minimum(values >> (bits - 8), 255).astype(np.uint8), notes


def _from_floats(values: NDArray[np.float64]) -> tuple[NDArray[np.uint8], Notes]:
    if not np.isfinite(values).all():
        raise UserError("the picture holds NaN or infinite values")
    highest = float(values.max())
    pixels = np.round(values * (255 if highest <= OVERSHOOT else 1))
    if pixels.min() < 0:
        raise _negative(float(values.min()))
    if highest > OVERSHOOT and pixels.max() > 255:
        raise UserError(
            f"numbers up to {highest:g} in floats are no picture; give RGB in 0..1 or 0..255"
        )
    notes: Notes = ()
    if pixels.max() > 255:
        notes = ("its values lie in 0..1 with some above 1, which were clipped",)
    elif OVERSHOOT < highest < DARK:
        notes = (
            f"its values end between {OVERSHOOT:g} and {DARK:g} and were read as 0..255, almost "
            "black; if 0..1 is meant, clip them to 1",
        )
    return np.minimum(pixels, 255).astype(np.uint8), notes


def _negative(lowest: float) -> UserError:
    return UserError(
        f"the picture holds negative values (down to {lowest:g}), as normalised ones do; pass RGB "
        "as it was before mean and deviation were taken out, in 0..1 or 0..255"
    )
