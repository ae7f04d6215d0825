"""Predictions on disk, picture by picture, so that nothing piles up in memory."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import UserError
from ..files.writing import atomic_write


class PredictionFolder:
    """A folder that receives one PNG of class indices per picture.

    Every process writes the pictures that it scored. The folders below the dataset's picture folder
    are kept, so that equal file names in different folders don't meet.

    Attributes:
        folder: where the PNGs go.
        image_root: folder of the pictures, or None to keep the file name only.
    """

    def __init__(self, folder: str | Path, image_root: str | Path | None = None) -> None:
        self.folder = Path(folder)
        self.image_root = None if image_root is None else Path(image_root)
        self._written: set[Path] = set()

    def path(self, file_name: str | Path) -> Path:
        """Where the prediction of a picture goes."""
        name = Path(file_name)
        if self.image_root is not None and name.is_relative_to(self.image_root):
            name = name.relative_to(self.image_root)
        else:
            name = Path(name.name)
        return self.folder / name.with_suffix(".png")

    def write(self, file_name: str | Path, labels: np.ndarray) -> None:
        """Store the labels of a picture under its own name.

        Args:
            file_name: the picture.
            labels: (H, W) class indices; stored in 8 bits, or in 16 when there are more than 255.

        Raises:
            UserError: if two pictures share the path.
        """
        path = self.path(file_name)
        if path in self._written:
            raise UserError(
                f"{path}: two pictures of this name (the second is {file_name}); set the dataset's "
                "image_root to the folder above both"
            )
        self._written.add(path)
        kind = np.uint8 if labels.max(initial=0) <= 255 else np.uint16
        atomic_write(path, png_bytes(labels.astype(kind)))


def png_bytes(array: np.ndarray) -> bytes:
    """Encode an (H, W) or (H, W, 3) array as PNG."""
    out = io.BytesIO()
    Image.fromarray(array).save(out, format="PNG")
    return out.getvalue()
