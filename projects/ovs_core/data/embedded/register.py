"""Registers the embedded world with Detectron2. Nothing is made until a dataset is asked for.

==============================  ==========================================================
``embedded_sem_seg_<split>``      28 classes; ``seen_classes`` / ``unseen_classes`` hold out five
``embedded_sem_seg_208_<split>``  208 names; unseen are the colour-thing pairs never captioned
``embedded_panoptic_<split>``     28 classes with instances, COCO panoptic files
``embedded_detection_<split>``    boxes of the 20 things; the unseen classes among them are novel
==============================  ==========================================================

``<split>`` is ``train`` or ``val``. As in Mask2Former's panoptic sets, ``stuff_classes`` of the
panoptic sets lists all 28 classes and ``thing_classes`` the first 20.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from .dataset import SPLITS, embedded_root, ensure_embedded_dataset, split_records
from .detection import detection_places, load_detection
from .vocabulary import (
    COLOURS,
    IGNORE_LABEL,
    LARGE_NAMES,
    SEMANTIC_NAMES,
    STUFF,
    THINGS,
    colour_rgb,
    stuff_rgb,
    unseen_classes,
    unseen_pairs,
)

Colour = tuple[int, int, int]
_SHARED_KEYS = ("file_name", "height", "width", "image_id", "captions")


def load_semantic(split: str, label_key: str) -> list[dict[str, Any]]:
    """Dicts of a split with one kind of semantic labels, making the files on first use."""
    return [
        {**{key: record[key] for key in _SHARED_KEYS}, "sem_seg_file_name": record[label_key]}
        for record in split_records(ensure_embedded_dataset(split))
    ]


def load_panoptic(split: str, name: str) -> list[dict[str, Any]]:
    """Dicts of a split with semantic and panoptic labels, making the files on first use.

    Args:
        split: ``"train"`` or ``"val"``.
        name: registered dataset, whose metadata are led to the files.
    """
    keys = (*_SHARED_KEYS, "sem_seg_file_name", "pan_seg_file_name", "segments_info")
    folder = ensure_embedded_dataset(split)
    vars(MetadataCatalog.get(name)).update(_panoptic_places(folder))
    return [{key: record[key] for key in keys} for record in split_records(folder)]


def _panoptic_places(folder: Path) -> dict[str, str]:
    """What metadata say of a split's files, whether they exist or not."""
    return {
        "panoptic_root": str(folder / "panoptic"),
        "panoptic_json": str(folder / "panoptic.json"),
        "image_root": str(folder / "images"),
    }


def _palette() -> list[Colour]:
    """One colour for each of the 28 classes: things spread over the hues, stuff as painted."""
    return [_thing_rgb(i) for i in range(len(THINGS))] + [stuff_rgb(i) for i in range(len(STUFF))]


def _thing_rgb(index: int) -> Colour:
    rgb = colorsys.hsv_to_rgb(index / len(THINGS), 0.9 - 0.4 * (index % 2), 0.95)
    red, green, blue = (int(255 * c) for c in rgb)
    return red, green, blue


def _large_palette() -> list[Colour]:
    base = _palette()
    pairs = [
        _mean(base[thing], colour_rgb(colour))
        for thing in range(len(THINGS))
        for colour in range(len(COLOURS))
    ]
    return pairs + base[len(THINGS) :]


def _mean(one: Colour, other: Colour) -> Colour:
    red, green, blue = ((a + b) // 2 for a, b in zip(one, other, strict=True))
    return red, green, blue


def _split_of(names: Sequence[str], unseen: Sequence[int]) -> dict[str, list[int]]:
    seen = sorted(set(range(len(names))) - set(unseen))
    return {"seen_classes": seen, "unseen_classes": sorted(unseen)}


def _register_semantic(name: str, split: str, label_key: str, **metadata: Any) -> None:
    DatasetCatalog.register(name, partial(load_semantic, split, label_key))
    MetadataCatalog.get(name).set(
        evaluator_type="sem_seg", ignore_label=IGNORE_LABEL, **metadata
    )  # fmt: skip


def _register_panoptic(name: str, split: str, **metadata: Any) -> None:
    DatasetCatalog.register(name, partial(load_panoptic, split, name))
    MetadataCatalog.get(name).set(
        evaluator_type="coco_panoptic_seg",
        ignore_label=IGNORE_LABEL,
        thing_classes=list(THINGS),
        thing_colors=_palette()[: len(THINGS)],
        thing_dataset_id_to_contiguous_id={i: i for i in range(len(THINGS))},
        stuff_dataset_id_to_contiguous_id={i: i for i in range(len(SEMANTIC_NAMES))},
        label_divisor=1000,
        **_panoptic_places(embedded_root(split)),
        **metadata,
    )


def _register_detection(name: str, split: str) -> None:
    DatasetCatalog.register(name, partial(load_detection, split, name))
    MetadataCatalog.get(name).set(
        evaluator_type="coco",
        thing_classes=list(THINGS),
        thing_colors=_palette()[: len(THINGS)],
        thing_dataset_id_to_contiguous_id={i: i for i in range(len(THINGS))},
        **detection_places(embedded_root(split)),
        **_split_of(THINGS, [i for i in unseen_classes() if i < len(THINGS)]),
    )


def register_embedded() -> None:
    """Register all datasets of the embedded world; a second call changes nothing."""
    classes = {"stuff_classes": list(SEMANTIC_NAMES), "stuff_colors": _palette()}
    classes |= _split_of(SEMANTIC_NAMES, unseen_classes())
    names = {"stuff_classes": list(LARGE_NAMES), "stuff_colors": _large_palette()}
    names |= _split_of(LARGE_NAMES, unseen_pairs())
    for split in SPLITS:
        if f"embedded_sem_seg_{split}" in DatasetCatalog.list():
            continue
        _register_semantic(f"embedded_sem_seg_{split}", split, "sem_seg_file_name", **classes)
        _register_semantic(f"embedded_sem_seg_208_{split}", split, "sem_seg_208_file_name", **names)
        _register_panoptic(f"embedded_panoptic_{split}", split, **classes)
        _register_detection(f"embedded_detection_{split}", split)


register_embedded()
