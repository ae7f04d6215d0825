"""Cityscapes: train-id maps and the panoptic annotation, as the official scripts define them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ...words.class_lists import load_class_list
from ..labels import read_label_file
from ..panoptic_png import color_from_segment_ids
from ..sources import files_by_key
from .claims import write_annotations
from .conversion import converted, first_existing
from .jobs import Job, run_jobs
from .summary import Summary, extent

_RULES = ("cityscapes_19",)
_PER_INSTANCE = 1000  # an instance id is label id * 1000 + number; below that a label id alone


def panoptic_map(path: str) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Make the panoptic annotation of one picture from its instance ids.

    Args:
        path: ``*_gtFine_instanceIds.png``.

    Returns:
        (H, W, 3) uint8 segment ids as colours (classes that are not scored stay void), and the
        segments, with label ids as ``category_id``. A countable class without a number is a crowd.
    """
    classes = load_class_list("cityscapes_19")
    index, things = classes.ids("label_id"), set(classes.things)
    ids = read_label_file(path).astype(np.int64)
    shown = np.zeros_like(ids)
    segments = []
    for value in np.unique(ids).tolist():
        label = value if value < _PER_INSTANCE else value // _PER_INSTANCE
        if label not in index:
            continue
        mask = ids == value
        shown[mask] = value
        crowd = int(value < _PER_INSTANCE and index[label] in things)
        segment = {"id": value, "category_id": label, "iscrowd": crowd}
        segments.append(segment | extent(mask))
    return color_from_segment_ids(shown), segments


def prepare_panoptic(root: Path, split: str, workers: int | None = None) -> Summary:
    """Write ``gtFine/cityscapes_panoptic_<split>`` and its JSON."""
    base = _base(root)
    found = _labels(base, split, "_gtFine_instanceIds.png")
    folder = base / "gtFine" / f"cityscapes_panoptic_{split}"
    jobs = [
        Job(folder / f"{Path(key).name}_gtFine_panoptic.png", panoptic_map, (path,), noted=True)
        for key, path in found.items()
    ]
    recipe = "cityscapes panoptic, label ids"
    summary = run_jobs(jobs, title=f"{split} panoptic", recipe=recipe, workers=workers)
    stems = [Path(key).name for key in found]
    segments = list(summary.notes.values())
    content = {
        "images": [{"id": stem, "file_name": f"{stem}_leftImg8bit.png"} for stem in stems],
        "annotations": [
            {"image_id": stem, "file_name": f"{stem}_gtFine_panoptic.png", "segments_info": info}
            for stem, info in zip(stems, segments, strict=True)
        ],
        "categories": [
            {"id": c["label_id"], "name": c["name"], "isthing": int(c["isthing"])}
            for c in load_class_list("cityscapes_19").classes
        ],
    }
    write_annotations(base / "gtFine" / f"cityscapes_panoptic_{split}.json", content)
    return summary


def prepare_train_ids(root: Path, split: str, workers: int | None = None) -> Summary:
    """Write the missing ``*_labelTrainIds.png`` beside ``*_labelIds.png``.

    The official scripts write the same files in the same place, so existing ones are kept.
    """
    found = _labels(_base(root), split, "_gtFine_labelIds.png")
    jobs = [
        Job(Path(path.replace("_labelIds.png", "_labelTrainIds.png")), converted, (path, _RULES))
        for path in found.values()
    ]
    return run_jobs(jobs, title=f"{split} labels", recipe=None, workers=workers)


def _base(root: Path) -> Path:
    return first_existing([root / "cityscapes", root / "cityscape"], "Cityscapes")


def _labels(base: Path, split: str, suffix: str) -> dict[str, str]:
    found = files_by_key(base / "gtFine" / split, (suffix,), recursive=True)
    if not found:
        raise UserError(f"{base / 'gtFine' / split}: holds no *{suffix} (gtFine_trainvaltest.zip)")
    return found
