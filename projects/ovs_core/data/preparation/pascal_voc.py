"""PASCAL VOC 2012 with the augmented training list of SBD."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from ...errors import UserError
from ..label_rules import convert_labels
from ..sources import files_of_keys, read_listing
from .conversion import converted, first_existing
from .jobs import Job, run_jobs
from .summary import Summary

VOC = "VOCdevkit/VOC2012"
AUGMENTED, ADDED = 10582, 9118
RULES = {"annotations_detectron2": "zero_is_ignore", "annotations_detectron2_bg": "zero_is_20"}


def augmented_lists(base: Path, sbd: Path | None) -> tuple[list[str], list[str]]:
    """Name the pictures of the augmented training list.

    Args:
        base: ``VOCdevkit/VOC2012``.
        sbd: ``dataset`` folder of SBD, or None to read MMSegmentation's ``aug.txt``.

    Returns:
        VOC's own training pictures, and those that SBD adds.
    """
    lists = base / "ImageSets" / "Segmentation"
    own, held_out = read_listing(lists / "train.txt"), read_listing(lists / "val.txt")
    if sbd is None:
        return own, read_listing(first_existing([lists / "aug.txt"], "the list of SBD's pictures"))
    known = {*read_listing(sbd / "train.txt"), *read_listing(sbd / "val.txt")}
    return own, sorted(known - {*own, *held_out})


def check_counts(own: list[str], added: list[str]) -> None:
    """Refuse lists of other lengths than the published 1,464 + 9,118 = 10,582.

    Raises:
        UserError: with both counts.
    """
    if len(added) != ADDED or len(own) + len(added) != AUGMENTED:
        raise UserError(
            f"the augmented list has {len(own)} + {len(added)} pictures; published are "
            f"{AUGMENTED - ADDED} + {ADDED} (--any-count prepares a part of the data)"
        )


def label_from_sbd(path: str, rules: tuple[str, ...]) -> NDArray[Any]:
    """Read ``GTcls.Segmentation`` of a ``.mat`` file of SBD as class indices, (H, W) uint8.

    Args:
        path: the file.
        rules: rules of ``label_rules.py``.

    Raises:
        UserError: if it is no such file.
    """
    try:
        content = loadmat(path, variable_names=["GTcls"], simplify_cells=True)
        raw = np.asarray(content["GTcls"]["Segmentation"], dtype=np.uint8)
    except (OSError, ValueError, KeyError, NotImplementedError) as error:
        raise UserError(f"{path}: no label file of SBD ({error})") from error
    return convert_labels(raw, *rules)


def prepare(
    root: Path,
    split: str,
    *,
    background: bool = False,
    sbd: Path | None = None,
    any_count: bool = False,
    workers: int | None = None,
) -> Summary:
    """Write ``annotations_detectron2[_bg]/<split>``.

    Args:
        root: folder of the datasets.
        split: ``train``, ``trainaug`` or ``val``.
        background: make the 20b labels (background is class 20) instead of the 20-class ones.
        sbd: ``dataset`` folder of SBD, for ``trainaug`` without SegmentationClassAug.
        any_count: do not insist on the published number of pictures.
        workers: see ``run_jobs``.

    Returns:
        The summary.
    """
    base = root / VOC
    place = "annotations_detectron2_bg" if background else "annotations_detectron2"
    target, rule, own = base / place / split, RULES[place], base / "SegmentationClass"
    if split == "trainaug":
        keys, added = augmented_lists(base, sbd)
        if not any_count:
            check_counts(keys, added)
    else:
        keys, added = read_listing(base / "ImageSets" / "Segmentation" / f"{split}.txt"), []
    jobs = _jobs(target, files_of_keys(own, ".png", keys), converted, rule)
    if added and sbd is None:
        paths = files_of_keys(base / "SegmentationClassAug", ".png", added)
        jobs += _jobs(target, paths, converted, rule)
    elif added and sbd is not None:
        jobs += _jobs(target, files_of_keys(sbd / "cls", ".mat", added), label_from_sbd, rule)
    return run_jobs(jobs, title=f"{split} labels", recipe=f"voc {rule}", workers=workers)


def _jobs(
    target: Path,
    paths: Mapping[str, str],
    make: Callable[[str, tuple[str, ...]], NDArray[Any]],
    rule: str,
) -> list[Job]:
    return [Job(target / f"{key}.png", make, (path, (rule,))) for key, path in paths.items()]
