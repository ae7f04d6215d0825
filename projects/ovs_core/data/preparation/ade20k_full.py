"""ADE20K full (2021_17_01): 847 classes from coloured masks, at reduced size."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...errors import UserError
from ...files.pictures import read_picture
from ...files.raster import open_raster
from ..label_rules import convert_labels
from ..labels import object_ids_from_color
from .jobs import Job, run_jobs
from .summary import Summary

SHORT_SIDE = 512
ARCHIVE = "ADE20K_2021_17_01"


def reduced_size(height: int, width: int) -> tuple[int, int]:
    """Size on disk: the short side becomes 512 if both sides are longer, else nothing changes.

    Returns:
        (height, width).
    """
    if min(height, width) <= SHORT_SIDE:
        return height, width
    if width >= height:
        return SHORT_SIDE, round(width / height * SHORT_SIDE)
    return round(height / width * SHORT_SIDE), SHORT_SIDE


def resize_label(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize object ids (H, W) int32 to ``size`` (height, width), nearest neighbour."""
    return cv2.resize(ids, size[::-1], interpolation=cv2.INTER_NEAREST)


def reduced_image(path: str) -> np.ndarray:
    """Read a picture at the size on disk: (H, W, 3) uint8 RGB."""
    rgb = read_picture(path, exif=False)  # labels are drawn on the picture as stored
    size = reduced_size(*rgb.shape[:2])
    return rgb if size == rgb.shape[:2] else cv2.resize(rgb, size[::-1])


def reduced_label(path: str) -> np.ndarray:
    """Read a ``*_seg.png`` at the size on disk: (H, W) uint16 class indices."""
    with open_raster(path, "cannot read the label picture") as picture:
        ids = object_ids_from_color(np.asarray(picture.convert("RGB")))
    size = reduced_size(*ids.shape)
    ids = ids if size == ids.shape else resize_label(ids, size)
    return convert_labels(ids, "ade20k_847")


class _ArraysOnly(pickle.Unpickler):
    """Reads the index, which is a pickle, without letting it call anything but NumPy's builders."""

    _ALLOWED = {"_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer"}

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "numpy" and name in self._ALLOWED:
            return super().find_class(module, name)
        if (module, name) in {("_codecs", "encode"), ("collections", "OrderedDict")}:
            return super().find_class(module, name)
        raise UserError(f"the index asks for {module}.{name}; expected lists and arrays only")


def read_index(path: Path) -> list[tuple[str, str]]:
    """Read folder and file name of every picture from ``index_ade20k.pkl``.

    Raises:
        UserError: if it is missing, broken, or holds more than plain data.
    """
    try:
        with path.open("rb") as file:
            index = _ArraysOnly(file).load()
        return list(zip(index["folder"], index["filename"], strict=True))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (OSError, pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: cannot read the index of ADE20K ({error})") from error


def prepare(root: Path, split: str, workers: int | None = None) -> list[Summary]:
    """Write ``images_detectron2`` and ``annotations_detectron2``.

    Args:
        root: folder of the datasets; the archive is unpacked in it.
        split: ``train`` or ``val``.
        workers: see ``run_jobs``.

    Returns:
        The summary of the pictures, and that of the labels.
    """
    base = root / ARCHIVE
    entries = read_index(base / "index_ade20k.pkl")
    folder = {"train": "training", "val": "validation"}[split]
    chosen = [e for e in entries if (e[1].split("_")[1] == "val") == (split == "val")]
    images, labels = [], []
    for where, name in chosen:
        raw, stem = _raw_path(root, where, name), Path(name).stem
        target = base / "images_detectron2" / folder / f"{stem}.jpg"
        images.append(Job(target, reduced_image, (str(raw),)))
        target = base / "annotations_detectron2" / folder / f"{stem}.tif"
        labels.append(Job(target, reduced_label, (str(raw.with_name(f"{stem}_seg.png")),)))
    return [
        run_jobs(jobs, title=f"{folder} {what}", recipe=f"ade20k_847 {what}", workers=workers)
        for jobs, what in ((images, "pictures"), (labels, "labels"))
    ]


def _raw_path(root: Path, folder: str, name: str) -> Path:
    """Where a picture lies: the index writes paths from the folder that holds the archive."""
    path = root / folder / name
    if not path.is_file():
        raise UserError(f"{path}: named in index_ade20k.pkl, but there is no such file")
    return path
