"""Label files: reading them, decoding colours, checking values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import UserError
from ..files.raster import open_raster, refuse_turned
from .label_rules import convert_labels
from .segments import labels_of_segments

if TYPE_CHECKING:  # preparing datasets needs no torch
    from ..words.label_space import LabelSpace


def object_ids_from_color(rgb: np.ndarray) -> np.ndarray:
    """Decode an ADE20K-full ``*_seg.png``.

    Args:
        rgb: (H, W, 3) uint8.

    Returns:
        (H, W) int32 object ids: ``(R // 10) * 256 + G``.
    """
    red, green = rgb[..., 0].astype(np.int32), rgb[..., 1].astype(np.int32)
    return red // 10 * 256 + green


def read_label_file(path: str | Path) -> np.ndarray:
    """Read a label file as the integers that it stores, 8 or 16 bit, palette indices included.

    Args:
        path: PNG, TIFF or another lossless one-channel picture.

    Returns:
        (H, W) uint8, uint16 or int32; of a one-bit file 0 and 1.

    Raises:
        UserError: if the file is missing or broken, holds colours instead of ids, is a grey picture
            whose palette hides its values, or has an EXIF tag that turns it.
    """
    with open_raster(path, "cannot read the label file") as picture:
        refuse_turned(picture, path)
        picture.load()
    if picture.mode == "1":
        return np.asarray(picture).astype(np.uint8)
    if picture.mode == "P":
        _check_palette(picture, path)
    elif picture.mode not in ("L", "I", "I;16", "I;16B", "I;16L"):
        raise UserError(
            f"{path}: holds {picture.mode} colours where one class id per pixel is expected; "
            "convert the colours to ids (one-channel PNG, or 16-bit TIFF beyond 255 classes)"
        )
    return np.asarray(picture)


def _check_palette(picture: Image.Image, path: str | Path) -> None:
    """Refuse a grey picture stored with a palette that renumbers its values.

    Image editors shrink files that way: the indices are then 0..n-1 and the class ids stand in the
    palette. A colour palette (VOC, Mapillary) says nothing about the ids, which are the indices.
    """
    palette = np.array(picture.getpalette("RGB") or [], dtype=np.int64).reshape(-1, 3)
    grey = (palette == palette[:, :1]).all(axis=1)
    used = np.unique(np.asarray(picture))
    used = used[used < len(palette)]
    if grey[used].all() and len(set(palette[used, 0])) > 1 and (palette[used, 0] != used).any():
        raise UserError(
            f"{path}: a palette renumbers the grey values (index {int(used[0])} stands for "
            f"{int(palette[used[0], 0])}); save the ids as a plain grey PNG (mode L) instead"
        )


def label_path(record: Mapping[str, Any]) -> str | None:
    """Give the file that the labels of a record come from.

    Returns:
        Its label file, or its panoptic PNG if it has none; None without either.
    """
    return record.get("sem_seg_file_name") or record.get("pan_seg_file_name")


def by_picture(dataset_name: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Index the records of a dataset with labels by ``file_name``.

    Raises:
        UserError: if a record has no label file, or a picture is listed twice.
    """
    found = {record["file_name"]: record for record in records if label_path(record)}
    if len(found) < len(records):
        lacking = [r["file_name"] for r in records if not label_path(r)]
        what = f"{lacking[0]} has no label file" if lacking else "a picture is listed twice"
        raise UserError(f"{dataset_name}: {what}; check the dataset before evaluating on it")
    return found


def load_labels(record: Mapping[str, Any], space: LabelSpace) -> NDArray[np.int64]:
    """Read the ground truth of a dataset record.

    Mappers and evaluators read labels here, and nowhere else, so that both see the same values.

    Args:
        record: Detectron2 dataset dict with ``sem_seg_file_name`` and, if the files need one, a
            ``label_rule`` (names of rules); or with ``pan_seg_file_name`` and ``segments_info``.
        space: label space of the record's dataset.

    Returns:
        (H, W) class indices, ``IGNORE`` where nothing counts.

    Raises:
        UserError: if the file cannot be read as labels, holds a value that is none, or has too few
            bits for the classes.
    """
    return canonical_labels(record, stored_labels(record, space.ignore_label), space)


def canonical_labels(
    record: Mapping[str, Any], stored: np.ndarray, space: LabelSpace
) -> NDArray[np.int64]:
    """Turn the ``stored_labels`` of a record into ``load_labels``.

    Raises:
        UserError: if they hold a value that is none, or have too few bits for the classes.
    """
    path = str(label_path(record))
    if stored.dtype == np.uint8 and space.num_classes > 256:
        raise UserError(
            f"{path}: 8-bit labels cannot hold {space.num_classes} classes; store them in 16 bits"
        )
    return space.canonical(stored, path=path)


def stored_labels(record: Mapping[str, Any], ignore: int = 255) -> np.ndarray:
    """Read the ground truth of a dataset record with the dataset's own ignore value.

    For checks of the files and for metrics that are defined on the stored values; all else takes
    ``load_labels``.

    Args:
        record: as in ``load_labels``.
        ignore: value of void pixels where the labels come from a panoptic PNG.

    Returns:
        (H, W) integers as stored, or as the ``label_rule`` turns them.

    Raises:
        UserError: if the file cannot be read as labels.
    """
    path = record.get("sem_seg_file_name")
    if path is None:
        return labels_of_segments(record, ignore)
    raw = read_label_file(path)
    try:
        return convert_labels(raw, *record.get("label_rule", ()))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
