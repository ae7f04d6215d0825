"""The metric of CLIPtrase's published tables, which is not comparable with the usual one.

Labels are cut to the square crop that the method sees; labels outside the classes are dropped
without a word; denominators carry 0.01; mean accuracy counts classes without ground truth as 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from ovs_core.data.labels import label_path, stored_labels
from ovs_core.errors import UserError
from ovs_core.evaluation.build import register_evaluator
from ovs_core.evaluation.confusion import SemSegFigures, smoothed_figures
from ovs_core.evaluation.inputs import size_text
from ovs_core.evaluation.semantic import OVSSemSegEvaluator

from .square_crop import crop_labels

_UNLABELLED = 255


def published_truth(labels: np.ndarray, num_classes: int, *, background: bool) -> np.ndarray | None:
    """Bring labels to the form that the published script compares.

    Args:
        labels: (S, S) as stored, cut to the crop.
        num_classes: number of scored classes, the background included.
        background: whether the last class is the background and takes the unlabelled pixels.

    Returns:
        (S, S) int32, values outside 0..num_classes-1 do not count; None if nothing is labelled, in
        which case the script leaves the picture out (background or not).
    """
    truth = labels.astype(np.int16).astype(np.int32)  # 65535 becomes -1
    if (truth == _UNLABELLED).all():
        return None
    if background:
        truth[truth == _UNLABELLED] = num_classes - 1
    return truth


class CLIPtraseEvaluator(OVSSemSegEvaluator):
    """Scores as CLIPtrase's stand-alone script does; for comparison with its tables only.

    A square prediction of another size than the label file is compared with the crop of the labels.
    """

    def _check_options(self) -> None:
        super()._check_options()
        if self.space.background:
            raise UserError(
                f"{self.dataset_name}: its names mark background, which CLIPtrase's published "
                "figures do not know; take TEST.EVALUATOR out, or the marks"
            )

    def read_truth(self, record: Mapping[str, Any], prediction: Tensor) -> np.ndarray | None:
        """Read, crop and remap the ground truth; see ``published_truth``."""
        labels = stored_labels(record, _UNLABELLED)
        height, width = prediction.shape
        if labels.shape != (height, width):
            if height != width:
                raise UserError(
                    f"{label_path(record)}: the labels are {size_text(labels.shape)}, the "
                    f"prediction is {size_text((height, width))} (height x width); it must have "
                    "that size or be the square crop of the stand-alone protocol"
                )
            labels = crop_labels(labels, height)
        background = self.background_rule == "last_class"
        truth = published_truth(labels, self.num_classes, background=background)
        if truth is not None:
            truth[(truth < 0) | (truth >= self.num_classes)] = self.num_classes
        return truth

    def summary(self, figures: SemSegFigures, counts: np.ndarray) -> dict[str, float]:
        """The smoothed figures, and the two usual means beside them under other names."""
        usual = {"mIoU_present": figures.miou, "mIoU_union": figures.miou_union}
        return {**smoothed_figures(counts), **usual}

    def rule(self) -> str:
        """How the figures are defined."""
        return "CLIPtrase's script: 0.01 in denominators, mACC over all classes, square crop"


register_evaluator("cliptrase", CLIPtraseEvaluator)
