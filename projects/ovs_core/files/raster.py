"""Opening picture files: raster formats alone, a limit of pixels, one line for what is wrong."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import struct
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from ..errors import UserError

LIMIT = "OVSUITE_MAX_PIXELS"  # environment variable, in millions
_FORMATS = "AVIF BMP DIB GIF JPEG JPEG2000 PNG PPM TIFF WEBP".split()
_ORIENTATION, _QUARTER_TURNS, _AS_STORED = 0x0112, (5, 6, 7, 8), 1
_WIDTH, _HEIGHT = 256, 257  # tags of TIFF
_DEEP = re.compile(r"(RGB|RGBX|RGBA);16([BLN])")  # Pillow's names of 16-bit colours in a file
BROKEN_EXIF = "its EXIF block is broken and was ignored, so the picture is not turned"

# The limit below is exact and refuses, and a broken EXIF block becomes a note.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", "Corrupt EXIF data|Truncated File", module="PIL.TiffImagePlugin")


def limit_pixels(millions: float) -> None:
    """Set how many pixels a picture file may have, in this process and those that it starts.

    Args:
        millions: of pixels; without a call the variable ``OVSUITE_MAX_PIXELS`` says, or Pillow.

    Raises:
        UserError: if that is no number above 0.
    """
    os.environ[LIMIT] = str(millions)
    _apply_limit()


def pixel_limit(default: float | None = None) -> float:
    """Give the limit in force, in millions of pixels.

    Args:
        default: holds where neither ``limit_pixels`` nor ``OVSUITE_MAX_PIXELS`` states one; None
            for what Pillow opens.

    Raises:
        UserError: if the variable holds no number above 0.
    """
    _apply_limit()
    if default is not None and not os.environ.get(LIMIT):
        return default
    return 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6


@contextlib.contextmanager
def open_raster(
    path: str | Path,
    problem: str = "cannot be decoded as a picture",
    *,
    data: bytes | None = None,
) -> Iterator[Image.Image]:
    """Open a picture file and, while the block decodes it, turn whatever fails into one line.

    Only the formats of pixels are tried, whatever the name of the file ends in: EPS, PDF, SVG and
    their like, which other programs would run, are none.

    Args:
        path: the file.
        problem: what the line says went wrong.
        data: what the file holds, where it was read already; ``path`` then only names it.

    Yields:
        The image, not decoded yet.

    Raises:
        UserError: names the file.
    """
    _apply_limit()
    try:
        if data is None and not os.path.isfile(path):  # False, too, where a name can be none
            raise FileNotFoundError("no such file")
        with open(path, "rb") if data is None else io.BytesIO(data) as file, _open(file) as image:
            yield image
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(
            f"{path}: {problem} (more than {pixel_limit():.4g} million pixels; "
            f"{LIMIT} sets another limit)"
        ) from error
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: {problem} (none of {', '.join(_formats())})") from error
    except Exception as error:  # parsers stumble over damaged files in every way there is
        what = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: {problem} ({what})") from error


def read_orientation(image: Image.Image) -> tuple[int, tuple[str, ...]]:
    """Read how a picture is to be turned; decodes a PNG.

    Returns:
        The value of its EXIF tag, 1 (as it is) where there is none, and a note if the block is
        broken.
    """
    try:
        value = image.getexif().get(_ORIENTATION, _AS_STORED)
    except Exception:  # as above; a picture is more than what is said of it
        return _AS_STORED, (BROKEN_EXIF,)
    if value in range(2, 9):
        return value, ()
    return _AS_STORED, () if _is_sound(image.info.get("exif")) else (BROKEN_EXIF,)


def refuse_turned(image: Image.Image, path: str | Path) -> None:
    """Refuse a label file that its EXIF tag turns, as labels are read as they are stored.

    Args:
        image: opened, not decoded.
        path: named in the message.

    Raises:
        UserError: if it has such a tag.
    """
    value = max(tiff_orientation(image), read_orientation(image)[0])
    if value in range(2, 9):
        raise UserError(
            f"{path}: its EXIF tag turns it (value {value}), but labels are read as they are "
            "stored; remove the tag, from its picture too if that has the same"
        )


def tiff_orientation(image: Image.Image) -> int:
    """How Pillow will turn a TIFF as it decodes it; 1 for one that is decoded, and all else."""
    return int(getattr(image, "tag_v2", {}).get(_ORIENTATION, _AS_STORED))


def unmapped(image: Image.Image) -> Image.Image:
    """Open a TIFF that is not decoded yet once more, so that Pillow does not map it into memory.

    It would map one that is turned by a quarter in the wrong size; of an open file it maps none.
    """
    if image.format == "TIFF" and isinstance(image, ImageFile.ImageFile):
        if image.tile and image.filename and image.fp is not None and not image.tell():
            return _open(image.fp)
    return image


def stored_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) of the pixels in the file; Pillow tells a TIFF's as its tag turns them."""
    tags = getattr(image, "tag_v2", None)
    if tags is not None and _WIDTH in tags and _HEIGHT in tags:
        return int(tags[_HEIGHT]), int(tags[_WIDTH])
    return image.height, image.width


def turned_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """(height, width) once a picture is turned."""
    return size[::-1] if orientation in _QUARTER_TURNS else size


def turn(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn (H, W, ...) pixels as an EXIF value says."""
    if orientation == _AS_STORED:
        return pixels
    if orientation in _QUARTER_TURNS:
        pixels = pixels.swapaxes(0, 1)
    upside = orientation in (3, 4, 7, 8)
    mirrored = orientation in (2, 3, 6, 7)
    pixels = pixels[::-1] if upside else pixels
    pixels = pixels[:, ::-1] if mirrored else pixels
    # A copy also where one pixel is high or wide, which NumPy calls contiguous.
    return np.array(pixels, np.uint8, order="C")


def turn_back(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undo ``turn``."""
    return turn(pixels, {6: 8, 8: 6}.get(orientation, orientation))


def deep_colours(image: Image.Image) -> NDArray[np.uint16] | None:
    """All bits of a picture with 16 bits per colour, of which Pillow gives the upper eight.

    The file is decoded twice, the second time in the other order of bytes.

    Args:
        image: opened, not decoded.

    Returns:
        (H, W, 2), (H, W, 3) or (H, W, 4); None if it has no such colours, or is decoded already.
    """
    if not isinstance(image, ImageFile.ImageFile) or image.fp is None:
        return None
    modes = {_raw_mode(tile) for tile in image.tile}
    mode = modes.pop() if len(modes) == 1 else ""
    found = _DEEP.fullmatch(mode)
    if found is None and mode != "LA;16B":
        return None
    with _open(image.fp) as again:
        _redirect(again, f"{found[1]};16{_other_order(found[2])}" if found else "RGBA")
        other = np.asarray(again)
    if found is None:  # grey and alpha take four bytes per pixel, as RGBA does
        return _joined(other[..., 0::2], other[..., 1::2])
    return _joined(np.asarray(image), other)


def _joined(high: NDArray[np.uint8], low: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return np.left_shift(high, 8, dtype=np.uint16) | low


def _raw_mode(tile: tuple[object, ...]) -> str:
    options = tile[3]
    return str(options[0] if isinstance(options, (tuple, list)) else options)


def _redirect(image: Image.Image, mode: str) -> None:
    """Let Pillow take the bytes of a file for those of another mode."""
    image.tile = [  # type: ignore[attr-defined]
        (*tile[:3], (mode, *tile[3][1:]) if isinstance(tile[3], (tuple, list)) else mode)
        for tile in image.tile  # type: ignore[attr-defined]
    ]


def _other_order(order: str) -> str:
    if order == "N":
        order = "L" if sys.byteorder == "little" else "B"
    return "B" if order == "L" else "L"


def _is_sound(block: bytes | None) -> bool:
    """Whether the first directory of an EXIF block lies inside the block."""
    if block is None:
        return True
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 10:
        return False
    magic, start = struct.unpack(f"{order}HI", block[2:8])
    if magic != 42 or start + 2 > len(block):
        return False
    (count,) = struct.unpack(f"{order}H", block[start : start + 2])
    return bool(start + 2 + 12 * count <= len(block))


def _open(file: IO[bytes]) -> Image.Image:
    return Image.open(file, formats=_formats())


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _apply_limit() -> None:
    if not (stated := os.environ.get(LIMIT)):
        return
    try:
        pixels = float(stated) * 1e6
    except ValueError:
        pixels = 0
    if not 1 <= pixels < float("inf"):
        raise UserError(f"the limit {LIMIT} is '{stated}'; expected millions of pixels, as 400")
    Image.MAX_IMAGE_PIXELS = int(pixels / 2)  # Pillow refuses what has more than twice as many
