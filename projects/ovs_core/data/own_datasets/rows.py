"""Rows with a picture and a label map, as Hugging Face's ``datasets`` gives them, as a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ...errors import UserError
from ...files.pictures import read_picture
from ...files.writing import atomic_write, check_output_dir, save_picture


def write_rows(
    folder: str | Path,
    name: str,
    rows: Iterable[Mapping[str, Any]],
    names: Sequence[str],
    *,
    picture: str = "image",
    labels: str = "label",
    ignore: int = 255,
) -> Path:
    """Write pictures and label maps as files, and the YAML file that describes them.

    Rows are taken one after the other, so that a dataset that is streamed fits into memory.

    Args:
        folder: made if absent; gets ``<name>/images``, ``<name>/labels`` and ``<name>.yaml``.
        name: of the dataset in the suite, such as ``street_val``.
        rows: each holds a picture (PIL, array, path) and a label map (PIL, array) of its size.
        names: of the classes, in the order of the label values.
        picture: key of the picture.
        labels: key of the label map: class index per pixel.
        ignore: label value that does not count.

    Returns:
        The YAML file, for ``DATASETS.YAML``. It is written last.

    Raises:
        UserError: if there is such a dataset already, no row, or one that lacks a key or whose
            labels are no map of whole numbers of the picture's size; names the row.
    """
    folder = check_output_dir(folder)
    target, stanza = folder / name, folder / f"{name}.yaml"
    for path in (target, stanza):
        if path.exists():
            raise UserError(f"{path}: exists already; choose another name, or move it away")
    count = -1
    for count, row in enumerate(rows):
        image, truth = _read(row, picture, labels, f"row {count} of {name}")
        save_picture(image, target / "images" / f"{count:06d}.png")
        save_picture(truth, target / "labels" / f"{count:06d}.png")
    if count < 0:
        raise UserError(f"{name}: there is no row")
    content = {
        "images": f"{name}/images", "labels": f"{name}/labels", "names": list(names),
        "ignore": ignore,
    }  # fmt: skip
    atomic_write(stanza, yaml.safe_dump({name: content}, sort_keys=False, allow_unicode=True))
    return stanza


def _read(
    row: Mapping[str, Any], picture: str, labels: str, where: str
) -> tuple[np.ndarray, np.ndarray]:
    for key in (picture, labels):
        if key not in row:
            raise UserError(f"{where}: has no '{key}', only {', '.join(map(str, row))}")
    image, truth = read_picture(row[picture], exif=False), np.asarray(row[labels])
    if truth.shape != image.shape[:2] or truth.dtype.kind not in "iu":
        raise UserError(
            f"{where}: '{labels}' is {truth.dtype} of shape {truth.shape}; needed are whole "
            f"numbers of shape {image.shape[:2]}, a class index per pixel"
        )
    if truth.min() < 0 or truth.max() > np.iinfo(np.uint16).max:
        raise UserError(f"{where}: '{labels}' has values from {truth.min()} to {truth.max()}")
    return image, truth.astype(np.uint8 if truth.max() <= 255 else np.uint16)
