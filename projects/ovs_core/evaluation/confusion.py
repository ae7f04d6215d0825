"""Counting which class was predicted where, and the figures that follow from the counts.

Letters: C classes. A confusion matrix has one more row and column, index C, for pixels that do not
count. Rows are predictions, columns the ground truth. All figures are percentages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def count_pairs(prediction: Tensor, truth: Tensor, num_classes: int) -> Tensor:
    """Count the pairs (predicted class, true class) of one picture.

    Args:
        prediction: (H, W) integers in 0..C.
        truth: (H, W) integers in 0..C, on the same device.
        num_classes: C.

    Returns:
        (C + 1, C + 1) int64, rows are predictions.
    """
    side = num_classes + 1
    # int32 holds every index up to C = 46339 and is faster to make than int64.
    kind = torch.int32 if side * side <= torch.iinfo(torch.int32).max else torch.int64
    index = prediction.to(kind).mul(side).add_(truth)
    return torch.bincount(index.flatten(), minlength=side * side).view(side, side)


@dataclass(frozen=True)
class SemSegFigures:
    """Figures of semantic segmentation.

    Attributes:
        iou: (C,) per class, NaN where the class has no ground truth.
        acc: (C,) recall per class, NaN likewise.
        iou_union: (C,) as ``iou``, but 0 for a class that is predicted and has no ground truth.
        miou: mean over classes with ground truth (Detectron2 since July 2022).
        miou_union: mean over classes with ground truth or predictions (Detectron2 v0.6,
            MMSegmentation).
        fwiou: mean weighted by the number of true pixels.
        macc: mean recall over classes with ground truth.
        pacc: share of right pixels.
        absent: number of classes without ground truth.
        zero: number of classes with ground truth and IoU exactly 0.
    """

    iou: np.ndarray
    acc: np.ndarray
    iou_union: np.ndarray
    miou: float
    miou_union: float
    fwiou: float
    macc: float
    pacc: float
    absent: int
    zero: int


def semseg_figures(confusion: np.ndarray) -> SemSegFigures:
    """Compute all figures from the counts.

    Args:
        confusion: (C + 1, C + 1) integers, rows are predictions, last index is ignored.

    Returns:
        The figures. With no valid pixel, means are NaN and fwIoU is 0, as in Detectron2.
    """
    counts = np.asarray(confusion)[:-1, :-1].astype(np.float64)
    right, truth, predicted = counts.diagonal(), counts.sum(0), counts.sum(1)
    union = truth + predicted - right
    iou_union = 100 * _ratio(right, union)
    iou = np.where(truth > 0, iou_union, np.nan)
    acc = 100 * _ratio(right, truth)
    present = truth > 0
    weights = truth[present] / truth.sum() if present.any() else truth[present]
    return SemSegFigures(
        iou=iou,
        acc=acc,
        iou_union=iou_union,
        miou=mean_of_known(iou),
        miou_union=mean_of_known(iou_union),
        fwiou=float((weights * iou[present]).sum()),
        macc=mean_of_known(acc),
        pacc=float(100 * right.sum() / truth.sum()) if present.any() else float("nan"),
        absent=int((~present).sum()),
        zero=int((iou[present] == 0).sum()),
    )


def split_figures(
    figures: SemSegFigures, seen: Sequence[int], unseen: Sequence[int]
) -> dict[str, float]:
    """Mean IoU of seen and unseen classes and their harmonic mean, by both rules.

    Args:
        figures: of all classes together (generalised setting).
        seen: indices of the seen classes.
        unseen: indices of the unseen classes.

    Returns:
        ``mIoU_S``, ``mIoU_U``, ``hIoU`` over classes with ground truth or predictions (the
        published convention), and the same with suffix ``_gt`` over classes with ground truth.
    """
    result = {}
    for suffix, values in (("", figures.iou_union), ("_gt", figures.iou)):
        of_seen = mean_of_known(values[list(seen)])
        of_unseen = mean_of_known(values[list(unseen)])
        result[f"mIoU_S{suffix}"] = of_seen
        result[f"mIoU_U{suffix}"] = of_unseen
        result[f"hIoU{suffix}"] = harmonic_mean(of_seen, of_unseen)
    return result


def smoothed_figures(confusion: np.ndarray) -> dict[str, float]:
    """The figures of CLIPtrase's published tables.

    They add 0.01 to denominators, and average recall over all classes, so that a class without
    ground truth counts as 0.

    Args:
        confusion: as for ``semseg_figures``.

    Returns:
        ``mIoU``, ``fwIoU``, ``mACC``, ``pACC``.
    """
    counts = np.asarray(confusion)[:-1, :-1].astype(np.float64)
    right, truth, predicted = counts.diagonal(), counts.sum(0), counts.sum(1)
    total = truth.sum()
    present = truth > 0
    iou = right / (truth + predicted - right + 0.01)
    known = total > 0
    return {
        "mIoU": 100 * mean_of_known(iou[present]),
        "fwIoU": float(100 * (truth[present] * iou[present]).sum() / total) if known else 0.0,
        "mACC": float(100 * (right / (truth + 0.01)).mean()),
        "pACC": float(100 * right.sum() / total) if known else float("nan"),
    }


def harmonic_mean(first: float, second: float) -> float:
    """``2 a b / (a + b)``, 0 if both are 0."""
    total = first + second
    return 0.0 if total == 0 else 2 * first * second / total


def mean_of_known(values: np.ndarray) -> float:
    """Mean over the entries that are not NaN; NaN if there is none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
