"""Miniatures of every benchmark: three to five small pictures in the true format on disk.

``write_all(root)`` lays out the official archives as a person unpacks them, odd cases included;
``layouts.write_layout`` lays out what other code bases prepare. File names, modes and JSON
structure are those of the datasets; nothing here uses the product's own table of paths, so that a
wrong path there is found.

    python -m tests.miniatures FOLDER
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .ade20k import write_ade20k_150, write_ade20k_full
from .coco import (
    write_coco_captions,
    write_coco_detection,
    write_coco_panoptic,
    write_coco_stuff,
)
from .layouts import LAYOUTS, write_layout
from .pascal import write_context_59, write_context_459, write_sbd, write_voc2012
from .street import write_cityscapes, write_mapillary

SOURCES: dict[str, Callable[[Path], None]] = {
    "coco_stuff": write_coco_stuff,
    "coco_panoptic": write_coco_panoptic,
    "coco_detection": write_coco_detection,
    "coco_captions": write_coco_captions,
    "ade20k_150": write_ade20k_150,
    "ade20k_full": write_ade20k_full,
    "voc2012": write_voc2012,
    "sbd": write_sbd,
    "context_59": write_context_59,
    "context_459": write_context_459,
    "cityscapes": write_cityscapes,
    "mapillary": write_mapillary,
}

__all__ = ["LAYOUTS", "SOURCES", "write_all", "write_layout"]


def write_all(root: Path) -> None:
    """Write the archives of every dataset below ``root``."""
    for write in SOURCES.values():
        write(root)
