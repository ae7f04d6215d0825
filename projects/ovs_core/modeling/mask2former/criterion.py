"""The set criterion of Mask2Former: class, mask and dice loss of matched queries, on every head.

Letters: B pictures, Q queries, K classes, n matched pairs of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode
from torch import Tensor
from torch.nn import functional as F

from ..global_batch import GlobalBatch
from ..losses import dice_loss
from ..per_picture import uniform_of
from .matcher import Assignment, Matcher
from .point_sampling import Draw, sample_points, uncertain_points
from .targets import MaskTargets

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class HeadOutput:
    """What the criterion sees of one prediction head.

    Attributes:
        logits: (B, Q, K + 1) class scores, void last.
        masks: (B, Q, h, w) mask logits.
    """

    logits: Tensor
    masks: Tensor


@dataclass
class SetCriterion:
    """Compare all heads with the segments.

    Attributes:
        matcher: assigns queries, separately for each head.
        class_weight: factor on the classification loss.
        mask_weight: factor on the binary cross entropy of the masks.
        dice_weight: factor on the dice loss.
        void_weight: weight of unmatched queries in the classification loss.
        points: points per mask.
        oversample: candidates per point.
        importance: share of points taken where the mask is undecided.
        draw: source of random numbers.
    """

    matcher: Matcher
    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    void_weight: float = 0.1
    points: int = 12544
    oversample: float = 3.0
    importance: float = 0.75
    draw: Draw = uniform_of

    def facts(self, segments: int, queries: int) -> dict[str, float]:
        """What the losses are divided by, of a picture of so many segments."""
        matched = min(segments, queries)
        return {
            "segments": segments,
            "class_weight": matched + self.void_weight * (queries - matched),
        }

    def __call__(
        self,
        heads: Sequence[HeadOutput],
        targets: list[MaskTargets],
        part: GlobalBatch | None = None,
    ) -> Losses:
        """Compute all losses, weighted.

        Args:
            heads: in order, the output head last.
            targets: segments of the B pictures.
            part: the step that the pictures are a part of, with ``facts``; None if they are all.

        Returns:
            ``loss_ce``, ``loss_mask``, ``loss_dice`` of the output head, and the same with ``_0``,
            ``_1``, ... of the auxiliary heads.
        """
        factors = {
            "loss_ce": self.class_weight,
            "loss_mask": self.mask_weight,
            "loss_dice": self.dice_weight,
        }
        part = part or self._alone(targets, heads[-1].masks.shape[1])
        losses = {}
        for suffix, head in [("", heads[-1]), *((f"_{i}", h) for i, h in enumerate(heads[:-1]))]:
            for name, value in self.of_head(head, targets, part).items():
                losses[name + suffix] = value * factors[name]
        return losses

    def of_head(self, head: HeadOutput, targets: list[MaskTargets], part: GlobalBatch) -> Losses:
        """Compute the three losses of one head, not weighted.

        Args:
            head: the head.
            targets: segments of the B pictures.
            part: the step that the pictures are a part of.
        """
        pairs = self.matcher(head.logits, head.masks, targets)
        return {
            "loss_ce": self._classification(head.logits, targets, pairs)
            / part.count("class_weight"),
            **self._masks(head.masks, targets, pairs, part.count("segments")),
        }

    def _classification(
        self, logits: Tensor, targets: list[MaskTargets], pairs: list[Assignment]
    ) -> Tensor:
        void = logits.shape[-1] - 1
        wanted = torch.full(logits.shape[:2], void, dtype=torch.int64, device=logits.device)
        for row, target, (queries, segments) in zip(wanted, targets, pairs, strict=True):
            row[queries] = target.labels[segments]
        weight = logits.new_ones(void + 1, dtype=torch.float32)
        weight[void:].fill_(self.void_weight)  # weight[void] = ... waits for a GPU
        return F.cross_entropy(logits.float().transpose(1, 2), wanted, weight, reduction="sum")

    def _masks(
        self,
        masks: Tensor,
        targets: list[MaskTargets],
        pairs: list[Assignment],
        count: float,
    ) -> Losses:
        predicted = torch.cat([m[queries] for m, (queries, _) in zip(masks, pairs, strict=True)])
        truth = torch.cat([t.masks[s] for t, (_, s) in zip(targets, pairs, strict=True)])
        predicted = predicted.float()
        points = uncertain_points(
            predicted,
            [picture for picture, (queries, _) in enumerate(pairs) for _ in queries],
            self.points,
            oversample=self.oversample,
            importance=self.importance,
            draw=self.draw,
        )
        if not len(predicted):
            nothing = masks.sum() * 0.0  # keeps the graph whole in a batch without segments
            return {"loss_mask": nothing, "loss_dice": nothing}
        with torch.no_grad():
            labels = sample_points(truth.float(), points)
        logits = sample_points(predicted, points)
        entropy = F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(1).sum()
        return {"loss_mask": entropy / count, "loss_dice": dice_loss(logits, labels).sum() / count}

    def _alone(self, targets: list[MaskTargets], queries: int) -> GlobalBatch:
        facts = [self.facts(len(target.labels), queries) for target in targets]
        return GlobalBatch(facts, 0, len(targets))


def build_criterion(node: CfgNode) -> SetCriterion:
    """Build matcher and losses of a config node with Mask2Former's keys.

    Args:
        node: with ``CLASS_WEIGHT``, ``MASK_WEIGHT``, ``DICE_WEIGHT``, ``NO_OBJECT_WEIGHT``,
            ``TRAIN_NUM_POINTS``, ``OVERSAMPLE_RATIO`` and ``IMPORTANCE_SAMPLE_RATIO``.
    """
    weights = {
        "class_weight": node.CLASS_WEIGHT,
        "mask_weight": node.MASK_WEIGHT,
        "dice_weight": node.DICE_WEIGHT,
    }
    return SetCriterion(
        Matcher(points=node.TRAIN_NUM_POINTS, **weights),
        void_weight=node.NO_OBJECT_WEIGHT,
        points=node.TRAIN_NUM_POINTS,
        oversample=node.OVERSAMPLE_RATIO,
        importance=node.IMPORTANCE_SAMPLE_RATIO,
        **weights,
    )
