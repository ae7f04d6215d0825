"""Evaluation among unseen classes alone: other pixels do not count, other classes cannot be chosen.

``MODEL.SPTSEG.TEST_CLASSES unseen`` keeps the model from choosing seen classes;
``TEST.EVALUATOR sem_seg_unseen`` counts pixels of unseen classes only.
"""

from __future__ import annotations

import numpy as np

from ovs_core.errors import UserError
from ovs_core.evaluation.build import register_evaluator
from ovs_core.evaluation.confusion import SemSegFigures, semseg_figures
from ovs_core.evaluation.semantic import OVSSemSegEvaluator


class UnseenOnlyEvaluator(OVSSemSegEvaluator):
    """Adds the figures of the unseen classes among themselves to the usual ones."""

    def summary(self, figures: SemSegFigures, counts: np.ndarray) -> dict[str, float]:
        """Put ``mIoU_unseen_only`` and ``pACC_unseen_only`` in front.

        Raises:
            UserError: if the dataset has no unseen class, or the model chose a seen class for a
                pixel of an unseen one.
        """
        if not self.unseen:
            raise UserError(f"{self.dataset_name}: has no unseen classes to test on alone")
        unseen = list(self.unseen)
        stray = int(counts[:, unseen].sum() - counts[np.ix_(unseen, unseen)].sum())
        if stray:
            raise UserError(
                f"{self.dataset_name}: the model chose seen classes for {stray} pixels of unseen "
                "ones; set MODEL.SPTSEG.TEST_CLASSES to unseen"
            )
        among = np.zeros((len(unseen) + 1,) * 2, dtype=counts.dtype)
        among[:-1, :-1] = counts[np.ix_(unseen, unseen)]
        alone = semseg_figures(among)
        chosen = {"mIoU_unseen_only": alone.miou_union, "pACC_unseen_only": alone.pacc}
        return {**chosen, **super().summary(figures, counts)}


register_evaluator("sem_seg_unseen", UnseenOnlyEvaluator)
