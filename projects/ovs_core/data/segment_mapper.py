"""Segments for mask-based methods: one mask per class of a picture's semantic labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from detectron2.structures import BitMasks, Instances
from torch import Tensor

from ..words.label_space import IGNORE, UNSEEN
from .mapper import SemanticDatasetMapper


def segments(labels: list[int], masks: Tensor) -> Instances:
    """Pack n classes and (n, h, w) bool masks as Detectron2 does, boxes included."""
    result = Instances(tuple(masks.shape[-2:]))
    result.gt_classes = torch.tensor(labels, dtype=torch.int64)
    result.gt_masks = BitMasks(masks)
    result.gt_boxes = result.gt_masks.get_bounding_boxes()
    return result


def segments_of_labels(labels: Tensor) -> Instances:
    """One segment per class that is present.

    Args:
        labels: (h, w) classes; pixels of ``IGNORE`` and ``UNSEEN`` belong to none.

    Returns:
        Segments in the order of the classes; none for a picture without labels.
    """
    present = [c for c in labels.unique().tolist() if c not in (IGNORE, UNSEEN)]
    index = torch.tensor(present, dtype=labels.dtype).view(-1, 1, 1)
    return segments(present, labels == index)


class MaskSemanticMapper(SemanticDatasetMapper):
    """The suite's semantic mapper with one segment per class present."""

    def __call__(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Map one record; in training adds ``instances``."""
        mapped = super().__call__(record)
        if self.is_train:
            mapped["instances"] = segments_of_labels(mapped["sem_seg"])
        return mapped
