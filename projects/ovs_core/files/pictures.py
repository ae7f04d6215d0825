"""Reading pictures of every common kind as RGB arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import UserError

# What `read_picture` reads.
PictureSource = str | Path | Image.Image | np.ndarray | torch.Tensor
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".gif")


def read_picture(source: PictureSource) -> np.ndarray:
    """Read a picture.

    Args:
        source: path, PIL image, RGB array (H, W, 3) or grey (H, W), or tensor (3, H, W) / (1, H,
            W). 8-bit values, 16-bit values, or floats in 0..1. Of an animation the first frame is
            taken; transparency is laid on white; EXIF rotation is applied.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        UserError: if it cannot be decoded or is no picture.
    """
    if isinstance(source, torch.Tensor):
        source = source.detach().cpu().numpy()
        if source.ndim == 3:
            source = np.moveaxis(source, 0, -1)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _from_pil(source, "picture")
    if not isinstance(source, (str, Path)):
        raise UserError(f"cannot read a picture from {type(source).__name__}")
    return _from_file(Path(source))


def find_pictures(folder: str | Path) -> list[Path]:
    """List the pictures in a folder, in order of their names.

    Raises:
        UserError: if there is none.
    """
    found = sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in SUFFIXES)
    if not found:
        raise UserError(f"{folder}: holds no picture ({', '.join(SUFFIXES)})")
    return found


def _from_file(path: Path) -> np.ndarray:
    if not path.is_file():
        raise UserError(f"{path}: no such picture")
    try:
        with Image.open(path) as image:
            return _from_pil(image, str(path))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path}: cannot be decoded as a picture ({error})") from error


def _from_pil(image: Image.Image, name: str) -> np.ndarray:
    image.seek(0) if getattr(image, "n_frames", 1) > 1 else None
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _from_array(np.asarray(image))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    array = np.asarray(image.convert("RGB"))
    if array.size == 0:
        raise UserError(f"{name}: has no pixel")
    return array


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4) or array.size == 0:
        raise UserError(
            "a picture array must be (H, W, 3), (H, W) or a tensor (3, H, W); got shape "
            f"{array.shape}"
        )
    array = array[..., :3] if array.shape[-1] == 4 else array
    array = np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array
    return np.ascontiguousarray(_to_uint8(array))


def _to_uint8(array: np.ndarray) -> np.ndarray:
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
