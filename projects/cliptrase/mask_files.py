"""Masks, or matrices to cluster, that another program wrote: a file per picture in one folder.

A picture ``x/7.jpg`` has the file ``7.png``, ``7.tif``, ``7.npy`` or ``7.npz`` of the folder. What
it holds says what it is:

- whole numbers (H, W): the region of each pixel; 255 (8 bit), 65535 (16 bit) and negative: none;
- truth values, or 0 and 1, (M, H, W): masks, which may overlap; the smallest one has a pixel;
- real numbers (1 + N, 1 + N) or (N, F): a correlation or features, as ``external_matrix`` has them.

Letters: M masks, N patches, H x W pixels of the picture as it lies on the disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ovs_core.data.labels import read_label_file
from ovs_core.errors import UserError
from ovs_core.modeling.scores import Size, size_of

from .mask_sources import external_matrix
from .square_crop import crop_labels
from .tower import Dense

KEY = "MODEL.CLIPTRASE.MASK_SOURCE"
PREFIX = "file:"
SUFFIXES = (".png", ".tif", ".npy", ".npz")
NONE = -1  # of a pixel that is in no mask
_UNMARKED = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}


class FileSource:
    """What a folder holds for each picture; a ``MaskSource`` where it holds matrices.

    Args:
        folder: of the files.

    Raises:
        UserError: if there is no such folder, it holds none, or two for one picture.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise UserError(f"{KEY} {PREFIX}{folder}: no such folder")
        self._files: dict[str, Path] = {}
        for path in sorted(p for p in self.folder.iterdir() if p.suffix in SUFFIXES):
            if path.stem in self._files:
                raise UserError(
                    f"{KEY}: {path} and {self._files[path.stem].name} are of one picture; leave one"
                )
            self._files[path.stem] = path
        if not self._files:
            raise UserError(f"{KEY} {PREFIX}{folder}: holds no {', '.join(SUFFIXES)} file")

    def __call__(self, picture: Tensor, dense: Dense, given: Mapping[str, Any]) -> Tensor:
        """Give the matrix of a picture; see ``MaskSource``.

        Raises:
            UserError: if there is no file, or one of another size.
        """
        path = self._file(given)
        try:
            return external_matrix(torch.from_numpy(_read(path)), dense.grid[0] * dense.grid[1])
        except UserError as error:
            raise UserError(f"{path}: {error}") from error

    def masks(self, given: Mapping[str, Any]) -> Tensor | None:
        """Read the region of each pixel of a picture.

        Args:
            given: input dict with ``file_name``.

        Returns:
            (H, W) int64 numbers 0..M-1, ``NONE`` where there is no mask; None if the file holds a
            matrix.

        Raises:
            UserError: if there is no file, or what it holds is none of the above.
        """
        path = self._file(given)
        array = _read(path)
        if array.ndim == 2 and array.dtype.kind == "f":
            return None
        if array.ndim == 2 and array.dtype.kind in "iu":
            regions = array.astype(np.int64)
            regions[array == _UNMARKED.get(array.dtype, NONE)] = NONE
        elif array.ndim == 3 and (array.dtype == bool or array.max(initial=0) <= 1):
            regions = _smallest(array.astype(bool))
        else:
            raise UserError(
                f"{path}: holds {array.dtype} of shape {array.shape}; needed are region numbers "
                "(H, W), masks (M, H, W), or a real matrix of the patches"
            )
        kept, numbers = np.unique(np.maximum(regions, NONE), return_inverse=True)
        return torch.from_numpy(numbers.reshape(regions.shape) - int(NONE in kept))

    def _file(self, given: Mapping[str, Any]) -> Path:
        if "file_name" not in given:
            raise UserError(
                f"{KEY} {PREFIX}{self.folder} needs the file_name of a picture, as evaluations "
                "give it; a picture in memory has none"
            )
        name = Path(given["file_name"]).stem
        if name not in self._files:
            raise UserError(f"{KEY}: {self.folder} holds no {name}{', '.join(SUFFIXES)}")
        return self._files[name]


def masks_at(masks: Tensor, size: Size, *, square: bool) -> Tensor:
    """Bring masks of a picture to where its labels are asked for.

    Args:
        masks: (H, W) region numbers.
        size: of the labels.
        square: whether they are asked for on the central square, as the published tables are made;
            masks are cut as the truth is.

    Raises:
        UserError: if the masks are of another picture size.
    """
    if size_of(masks) == size:
        return masks
    if square:
        return torch.from_numpy(crop_labels(masks.numpy(), size[0]).astype(np.int64))
    raise UserError(
        f"{KEY}: masks are {' x '.join(map(str, masks.shape))}, the picture's labels are "
        f"{size[0]} x {size[1]} (height x width); give masks of the picture's own size"
    )


def _read(path: Path) -> np.ndarray:
    """Read a file without running anything in it."""
    if path.suffix in (".png", ".tif"):
        return read_label_file(path)
    try:
        loaded: Any = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            (name,) = loaded.files
            return np.asarray(loaded[name])
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: is no array, or not one alone ({error})") from error


def _smallest(masks: np.ndarray) -> np.ndarray:
    """(M, H, W) masks -> (H, W) number of the smallest one at each pixel."""
    regions = np.full(masks.shape[1:], NONE, dtype=np.int64)
    for number in np.argsort(-masks.sum(axis=(1, 2)), kind="stable"):
        regions[masks[number]] = number
    return regions
