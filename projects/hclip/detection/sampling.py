"""Detectron2's sampling of anchors and regions, with each picture's own random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from detectron2.modeling.proposal_generator import PROPOSAL_GENERATOR_REGISTRY, RPN
from torch import Tensor

from ovs_core.modeling.per_picture import seed_for


@PROPOSAL_GENERATOR_REGISTRY.register()
class PictureRPN(RPN):
    """Detectron2's RPN; which anchors are sampled does not depend on the rest of the batch."""

    _turns: Iterator[int]

    def label_and_sample_anchors(
        self, anchors: Any, gt_instances: Any
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Label the anchors of every picture in turn; see Detectron2."""
        self._turns = iter(range(len(gt_instances)))
        result: tuple[list[Tensor], list[Tensor]] = super().label_and_sample_anchors(
            anchors, gt_instances
        )
        return result

    def _subsample_labels(self, label: Tensor) -> Tensor:
        seed_for(next(self._turns))
        sampled: Tensor = super()._subsample_labels(label)
        return sampled
