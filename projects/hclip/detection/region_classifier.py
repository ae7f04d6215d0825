"""Scoring regions with words: the detector's last layers.

Letters: R regions, K classes, D joint width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from detectron2.structures import Instances
from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.errors import UserError

from .build import classifier_arguments


class RegionClassifier(FastRCNNOutputLayers):
    """Detectron2's box layers with words in the place of a fixed set of classes.

    A region's score for a word is a learned temperature times the cosine of its embedding and the
    word's; the background has a learned embedding of its own. Unless ``novel_negatives``, the
    softmax of training runs over base classes and background alone, so that no region is pushed
    away from a novel word.

    Args:
        input_shape: of the box head's output.
        embed_dim: D.
        temperature: initial factor on the cosine.
        background_weight: weight of background regions in the class loss.
        novel_negatives: keep the novel words of the training set in the softmax of training.
        arguments: of Detectron2's layers; boxes are always class-agnostic.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        embed_dim: int,
        temperature: float = 50.0,
        background_weight: float = 0.6,
        novel_negatives: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__(
            input_shape, **{**arguments, "num_classes": 1, "cls_agnostic_bbox_reg": True}
        )
        self.cls_score = nn.Linear(self.bbox_pred.in_features, embed_dim)
        nn.init.normal_(self.cls_score.weight, std=0.01)
        nn.init.zeros_(self.cls_score.bias)
        self.temperature = nn.Parameter(torch.tensor(float(temperature)))
        self.background = nn.Parameter(F.normalize(torch.randn(embed_dim), dim=0))
        self.background_weight, self.novel_negatives = background_weight, novel_negatives
        # The words in use. They are no part of a checkpoint.
        self.register_buffer("text", torch.zeros(0, embed_dim), persistent=False)
        for name in ("is_base", "takes_part", "is_shown"):
            self.register_buffer(name, torch.zeros(0, dtype=torch.bool), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Read Detectron2's keys of the box layers, and our own, see ``build.py``."""
        return {**super().from_config(cfg, input_shape), **classifier_arguments(cfg)}

    def set_words(
        self, text: Tensor, *, base: Tensor, takes_part: Tensor, is_shown: Tensor
    ) -> None:
        """Choose the classes.

        Args:
            text: (K, D) unit embeddings.
            base: (K,) bool, classes that are trained.
            takes_part: (K,) bool, False for classes that are never scored.
            is_shown: (K,) bool, False for background words, which compete but give no boxes.
        """
        device = self.background.device
        self.num_classes = len(text)
        self.text, self.is_base = text.to(device), base.to(device)
        self.takes_part, self.is_shown = takes_part.to(device), is_shown.to(device)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Score regions.

        Args:
            x: (R, ...) output of the box head.

        Returns:
            (R, K + 1) logits, background last, minus infinity for classes that do not compete; and
            (R, 4) box deltas.
        """
        x = x.flatten(1)
        return self.logits(self.cls_score(x)), self.bbox_pred(x)

    def logits(self, regions: Tensor) -> Tensor:
        """(R, D) region embeddings -> (R, K + 1) logits, in float32 also under autocast."""
        with torch.autocast(regions.device.type, enabled=False):
            background = F.normalize(self.background, dim=0)
            words = torch.cat([self.text, background[None]])
            scores = self.temperature * F.normalize(regions.float(), dim=-1) @ words.T
        all_compete = self.novel_negatives or not self.training
        competes = self.takes_part if all_compete else self.takes_part & self.is_base
        return scores.masked_fill(~F.pad(competes, (0, 1), value=True), -torch.inf)

    def class_weights(self) -> Tensor:
        """(K + 1,) weights in the class loss: base 1, others 0, background in between."""
        weights = (self.is_base & self.takes_part).float()
        return F.pad(weights, (0, 1), value=self.background_weight)

    def classification_loss(self, logits: Tensor, classes: Tensor) -> Tensor:
        """Weighted cross entropy, mean over all R regions.

        Args:
            logits: (R, K + 1).
            classes: (R,) class, K for background.
        """
        weights = self.class_weights()[classes]
        kept = weights > 0  # a region of a novel class, should the data hold one, teaches nothing
        losses = F.cross_entropy(logits[kept], classes[kept], reduction="none")
        return (weights[kept] * losses).sum() / max(len(classes), 1)

    def losses(
        self, predictions: tuple[Tensor, Tensor], proposals: Sequence[Instances]
    ) -> dict[str, Tensor]:
        """Compute ``loss_cls`` and ``loss_box_reg`` of sampled proposals, means over pictures.

        A picture's losses are means over its regions, so that they do not depend on how many the
        other pictures of a batch have.

        Raises:
            UserError: if no class is trained.
        """
        if not self.is_base.any():
            raise UserError(
                "none of the training classes is a base class; check the seen and unseen classes "
                "of DATASETS.TRAIN"
            )
        counts = [len(one) for one in proposals]
        pictures = zip(*(part.split(counts) for part in predictions), proposals, strict=True)
        each = [self._picture_losses(*one) for one in pictures]
        return {
            name: self.loss_weight.get(name, 1.0) * torch.stack([one[name] for one in each]).mean()
            for name in each[0]
        }

    def _picture_losses(
        self, logits: Tensor, deltas: Tensor, regions: Instances
    ) -> dict[str, Tensor]:
        """Losses of one picture's regions, not weighted."""
        boxes = regions.proposal_boxes.tensor
        # A picture without boxes has no truth to match; its regions are background and not used.
        truth = regions.gt_boxes.tensor if regions.has("gt_boxes") else boxes
        classes = regions.gt_classes
        return {
            "loss_cls": self.classification_loss(logits, classes),
            "loss_box_reg": self.box_reg_loss(boxes, truth, deltas, classes),
        }
