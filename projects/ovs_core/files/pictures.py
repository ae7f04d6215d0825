"""The one reader of pictures: of the command, Python and the page, of training and evaluation.

It takes every common kind and gives RGB (or BGR) arrays of 8 bits.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ..errors import UserError, check_choice
from .listing import iter_files

if TYPE_CHECKING:  # who has no tensor needs no torch
    from torch import Tensor

# What `read_picture` reads.
PictureSource: TypeAlias = "str | Path | Image.Image | NDArray[Any] | Tensor"
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".gif")
CHANNEL_ORDERS = ("RGB", "BGR")
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what Pillow raises
_ORIENTATION, _QUARTER_TURNS = 0x0112, (5, 6, 7, 8)  # an EXIF tag and its values that swap sides


def read_picture(
    source: PictureSource, channels: str = "RGB", *, exif: bool = True
) -> NDArray[np.uint8]:
    """Bring any picture to upright 8-bit colour.

    Of an animation the first frame is taken, transparency is laid on white, and 16-bit values are
    brought to 8 bits.

    Args:
        source: path, PIL image, array (H, W), (H, W, 1), RGB (H, W, 3) or RGBA (H, W, 4), or
            tensor with the channels first. 8-bit values, 16-bit values, or floats in 0..1.
        channels: order of the channels in the result, ``RGB`` or ``BGR``.
        exif: turn the picture as its EXIF tag says.

    Returns:
        (H, W, 3) uint8.

    Raises:
        UserError: if it cannot be decoded completely or is no picture.
    """
    check_choice("INPUT.FORMAT", channels, CHANNEL_ORDERS)
    rgb = _read_rgb(source, exif)
    return rgb if channels == "RGB" else np.ascontiguousarray(rgb[..., ::-1])


class Header(NamedTuple):
    """What a picture file says of itself.

    Attributes:
        stored: (height, width) as stored.
        upright: (height, width) once it is turned as its EXIF tag says.
        mode: Pillow's name of the kind of values.
    """

    stored: tuple[int, int]
    upright: tuple[int, int]
    mode: str


def read_header(path: str | Path) -> Header:
    """Read size and mode of a picture or label file without decoding its pixels.

    Raises:
        UserError: if it is no picture.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(_ORIENTATION) in _QUARTER_TURNS
            upright = (width, height) if turned else (height, width)
            return Header((height, width), upright, image.mode)
    except UNREADABLE as error:
        raise UserError(f"{path}: cannot be read as a picture ({error})") from error


def find_pictures(folder: str | Path) -> list[Path]:
    """List the pictures in a folder, in order of their names.

    Raises:
        UserError: if there is none.
    """
    found = sorted(Path(path) for path in iter_files(folder, SUFFIXES))
    if not found:
        raise UserError(f"{folder}: holds no picture ({', '.join(SUFFIXES)})")
    return found


def _read_rgb(source: PictureSource, exif: bool) -> NDArray[np.uint8]:
    if isinstance(source, (str, Path)):
        return _from_file(Path(source), exif)
    if isinstance(source, Image.Image):
        return _from_pil(source, exif)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    from torch import Tensor

    if not isinstance(source, Tensor):
        raise UserError(f"cannot read a picture from {type(source).__name__}")
    array = source.detach().cpu().numpy()
    return _from_array(np.moveaxis(array, 0, -1) if array.ndim == 3 else array)


def _from_file(path: Path, exif: bool) -> NDArray[np.uint8]:
    if not path.is_file():
        raise UserError(f"{path}: no such picture")
    try:
        with Image.open(path) as image:
            return _from_pil(image, exif)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except UNREADABLE as error:
        raise UserError(f"{path}: cannot be decoded as a picture ({error})") from error


def _from_pil(image: Image.Image, exif: bool) -> NDArray[np.uint8]:
    if getattr(image, "n_frames", 1) > 1:
        image.seek(0)
    if exif:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _from_array(np.asarray(image))
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA"))
    array = np.asarray(image.convert("RGB"))
    if array.size == 0:
        raise UserError("the picture has no pixel")
    return array


def _on_white(rgba: Image.Image) -> NDArray[np.uint8]:
    white = Image.new("RGBA", rgba.size, "white")
    return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))


def _from_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4) or array.size == 0:
        raise UserError(
            "a picture array must be (H, W, 3), (H, W) or a tensor (3, H, W); got shape "
            f"{array.shape}"
        )
    array = np.ascontiguousarray(_to_uint8(array))
    if array.shape[-1] == 4:
        return _on_white(Image.fromarray(array, "RGBA"))
    return np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array


def _to_uint8(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all():
            raise UserError("the picture holds NaN or infinite values")
        scale = 255.0 if array.max() <= 1.0 else 1.0
        return np.clip(np.round(array * scale), 0, 255).astype(np.uint8)
    if array.min() < 0:
        raise UserError("the picture holds negative values")
    return (array // 257 if array.max() > 255 else array).astype(np.uint8)
