"""The one reader of pictures: of the command, Python and the page, of training and evaluation.

It takes every common kind and gives RGB (or BGR) arrays of 8 bits. ``raster.py`` opens files,
``pixels.py`` says what values mean.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import UserError, check_choice
from .listing import iter_files
from .pixels import to_rgb
from .raster import (
    deep_colours,
    open_raster,
    read_orientation,
    stored_size,
    tiff_orientation,
    turn,
    turn_back,
    turned_size,
    unmapped,
)

if TYPE_CHECKING:  # who has no tensor needs no torch
    from torch import Tensor

SUFFIXES = (
    ".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm",
    ".gif", ".jp2", ".avif",
)  # fmt: skip
CHANNEL_ORDERS = ("RGB", "BGR")
logger = logging.getLogger(__name__)
_said: set[str] = set()  # notes that the log has
_MOST_SAID = 1000  # some name values; a page that runs for months is to stay small


@dataclass(frozen=True)
class LoadedPicture:
    """A picture that was read.

    Attributes:
        rgb: (H, W, 3) uint8.
        notes: what was decided about its values, for who looks at a result.
    """

    rgb: NDArray[np.uint8]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PictureBytes:
    """What a picture file holds.

    Attributes:
        name: of the file, for messages.
        data: as it lies on a disk.
    """

    name: str
    data: bytes


# What `read_picture` reads.
PictureSource: TypeAlias = (
    "str | Path | Image.Image | NDArray[Any] | Tensor | LoadedPicture | PictureBytes"
)


def load_picture(source: PictureSource, *, exif: bool = True) -> LoadedPicture:
    """Bring any picture to upright 8-bit RGB, and say what had to be decided.

    Of an animation the first frame is taken. What values of any depth mean, and which are refused,
    stands in ``pixels.py``. The log is told of each kind of note once.

    Args:
        source: path, what a picture file holds, PIL image, array (H, W), grey and alpha (H, W, 2),
            RGB (H, W, 3) or RGBA (H, W, 4), or tensor with the channels first.
        exif: turn the picture as its EXIF tag says.

    Raises:
        UserError: if it cannot be decoded completely or is no picture.
    """
    if isinstance(source, LoadedPicture):
        return source
    picture = _load(source, exif)
    for note in picture.notes:
        if note not in _said:
            if len(_said) >= _MOST_SAID:
                _said.clear()
            _said.add(note)
            logger.warning("%s%s (said once, others may follow)", _told(source), note)
    return picture


def _told(source: PictureSource) -> str:
    if isinstance(source, PictureBytes):
        return f"{source.name}: "
    return f"{source}: " if isinstance(source, (str, Path)) else ""


def read_picture(
    source: PictureSource, channels: str = "RGB", *, exif: bool = True
) -> NDArray[np.uint8]:
    """Read a picture as ``load_picture`` does, for those who show no notes.

    Args:
        source: see ``load_picture``.
        channels: order of the channels in the result, ``RGB`` or ``BGR``.
        exif: turn the picture as its EXIF tag says.

    Returns:
        (H, W, 3) uint8.

    Raises:
        UserError: if it cannot be decoded completely or is no picture.
    """
    check_choice("INPUT.FORMAT", channels, CHANNEL_ORDERS)
    rgb = load_picture(source, exif=exif).rgb
    return rgb if channels == "RGB" else np.ascontiguousarray(rgb[..., ::-1])


class Header(NamedTuple):
    """What a picture file says of itself.

    Attributes:
        stored: (height, width) as stored.
        upright: (height, width) once it is turned as its EXIF tag says.
        mode: Pillow's name of the kind of values.
        orientation: value of the EXIF tag; 1 where there is none.
    """

    stored: tuple[int, int]
    upright: tuple[int, int]
    mode: str
    orientation: int = 1


def read_header(path: str | Path) -> Header:
    """Read size and mode of a picture or label file without decoding its pixels.

    Raises:
        UserError: if it is no picture.
    """
    with open_raster(path, "cannot be read as a picture") as image:
        orientation, _ = read_orientation(image)
        size = stored_size(image)
        return Header(size, turned_size(size, orientation), image.mode, orientation)


def find_pictures(folder: str | Path) -> list[Path]:
    """List the pictures in a folder, in order of their names.

    Raises:
        UserError: if there is none.
    """
    found = sorted(Path(path) for path in iter_files(folder, SUFFIXES))
    if not found:
        raise UserError(f"{folder}: holds no picture ({', '.join(SUFFIXES)})")
    return found


def _load(source: PictureSource, exif: bool) -> LoadedPicture:
    if isinstance(source, (str, Path)):
        if not os.path.exists(source):  # Path.exists raises for a name that is too long
            raise UserError(f"{source}: no such picture")
        return _from_file(source, None, exif)
    if isinstance(source, PictureBytes):
        return _from_file(source.name, source.data, exif)
    if isinstance(source, Image.Image):
        return _from_image(source, exif)
    if isinstance(source, np.ndarray):
        return LoadedPicture(*to_rgb(source))
    from torch import Tensor

    if not isinstance(source, Tensor):
        raise UserError(f"cannot read a picture from {type(source).__name__}")
    return LoadedPicture(*to_rgb(_from_tensor(source)))


def _from_file(path: str | Path, data: bytes | None, exif: bool) -> LoadedPicture:
    with open_raster(path, data=data) as image:
        try:
            return _from_image(image, exif)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error


def _from_tensor(tensor: Tensor) -> NDArray[Any]:
    try:
        tensor = tensor.detach().cpu()
        tensor = tensor.float() if tensor.is_floating_point() else tensor  # NumPy has no bfloat16
        array: NDArray[Any] = tensor.numpy()
    except (TypeError, RuntimeError) as error:  # sparse, quantized, without data (meta)
        raise UserError(
            f"a tensor of layout {tensor.layout} on {tensor.device} holds no plain numbers; give a "
            "dense one"
        ) from error
    return np.moveaxis(array, 0, -1) if array.ndim == 3 else array


def _from_image(image: Image.Image, exif: bool) -> LoadedPicture:
    if image.tell():
        image.seek(0)
    image = unmapped(image)
    turned = tiff_orientation(image)
    values, bits = _stored_values(image)
    rgb, notes = to_rgb(values, bits=bits)
    orientation, broken = read_orientation(image)  # of a TIFF none is left, as Pillow has turned it
    if exif:
        rgb = turn(rgb, orientation)
    elif orientation != turned:
        rgb = turn_back(rgb, turned)
    return LoadedPicture(rgb, broken + notes)


def _stored_values(image: Image.Image) -> tuple[NDArray[Any], int | None]:
    """Values as ``to_rgb`` takes them, and the bit depth that the file states."""
    deep = deep_colours(image)
    if deep is not None:
        return _with_key(deep, image), None
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        bits = 16 if image.format == "PPM" else _tiff_bits(image)  # Pillow stretches a PPM itself
        return _with_key(np.asarray(image).astype(np.uint16), image), bits
    if image.mode in ("I", "F"):
        return np.asarray(image), None
    if image.mode == "La":
        image = image.convert("LA")
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB")), None


def _tiff_bits(image: Image.Image) -> int | None:
    """Bits per value of a TIFF that packs fewer than 16."""
    bits = getattr(image, "tag_v2", {}).get(258, (16,))[0]
    return int(bits) if bits < 16 else None


def _with_key(values: NDArray[np.uint16], image: Image.Image) -> NDArray[np.uint16]:
    """Make the one value that a PNG names as transparent an alpha channel."""
    key = image.info.get("transparency")
    if key is None:
        return values
    values = values[..., None] if values.ndim == 2 else values
    clear = (values == np.array(key, np.uint16)).all(axis=-1, keepdims=True)
    return np.concatenate([values, np.where(clear, 0, 65535).astype(np.uint16)], axis=-1)
