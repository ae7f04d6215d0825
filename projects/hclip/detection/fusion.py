"""Fusing the detector's scores with what the frozen encoder says of the same boxes.

Letters: R regions, K classes, D joint width, h x w grid of patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from detectron2.structures import Boxes
from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.errors import UserError

from ..regions import region_pooler


@dataclass(frozen=True)
class FusionSettings:
    """How scores are fused: ``s = s_det^(1 - w) * s_clip^w``.

    Attributes:
        temperature: factor on the cosine of pooled dense feature and word.
        base_weight: w of classes that were trained.
        novel_weight: w of all others.
    """

    temperature: float = 75.0
    base_weight: float = 0.1
    novel_weight: float = 0.8

    def __post_init__(self) -> None:
        """Refuse weights outside 0..1."""
        for name in ("base_weight", "novel_weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(
                    f"MODEL.HCLIP_DET.FUSION.{name.upper()}: {getattr(self, name)} is not in 0..1"
                )


class ScoreFusion(nn.Module):
    """The frozen encoder's own classifier of boxes, and the fusion with the detector's.

    Args:
        stride: patch side in pixels.
        settings: temperature and weights.
    """

    def __init__(self, stride: int, settings: FusionSettings) -> None:
        super().__init__()
        self.settings = settings
        self.pooler = region_pooler(stride)

    def region_scores(
        self, dense: Tensor, boxes: Sequence[Boxes], text: Tensor, takes_part: Tensor
    ) -> Tensor:
        """Classify boxes by the mean of their dense features (RoIAlign to one cell).

        Args:
            dense: (B, D, h, w) value-only dense features.
            boxes: of each picture, R in all.
            text: (K, D) unit embeddings.
            takes_part: (K,) bool.

        Returns:
            (R, K) probabilities; 0 for classes that take no part.
        """
        pooled = F.normalize(self.pooler([dense.float()], list(boxes)).flatten(1), dim=-1)
        logits = self.settings.temperature * pooled @ text.T
        return logits.masked_fill(~takes_part, -torch.inf).softmax(dim=-1)

    def fuse(self, detector: Tensor, region: Tensor, is_base: Tensor) -> Tensor:
        """Take the weighted geometric mean per class; the background's score stays.

        Args:
            detector: (R, K + 1) probabilities, background last.
            region: (R, K) probabilities.
            is_base: (K,) bool.

        Returns:
            (R, K + 1).
        """
        base, novel = self.settings.base_weight, self.settings.novel_weight
        weight = torch.where(is_base, base, novel)
        fused = detector[:, :-1] ** (1 - weight) * region**weight
        return torch.cat([fused, detector[:, -1:]], dim=1)
