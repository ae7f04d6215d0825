"""Assigning predicted masks to segments (Mask2Former; Hungarian method of scipy)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...tensor.placing import place
from ..per_picture import uniform_of
from .point_sampling import Draw, sample_points
from .targets import MaskTargets

Assignment = tuple[Tensor, Tensor]  # queries and the targets they are matched to


@dataclass
class Matcher:
    """Cheapest one-to-one assignment of queries to the segments of a picture.

    Attributes:
        class_weight: factor on minus the probability of the segment's class.
        mask_weight: factor on the binary cross entropy of the masks.
        dice_weight: factor on their dice loss.
        points: random points at which masks are compared, shared by all masks of a picture.
        draw: source of random numbers.
    """

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    points: int = 12544
    draw: Draw = uniform_of

    @torch.no_grad()
    def __call__(
        self, logits: Tensor, masks: Tensor, targets: list[MaskTargets]
    ) -> list[Assignment]:
        """Match a batch.

        Args:
            logits: (B, Q, K + 1) class scores.
            masks: (B, Q, h, w) mask logits.
            targets: segments of the B pictures. With more segments than queries the dearest stay
                unmatched.

        Returns:
            Per picture the indices of the matched queries (ascending) and of their segments.
        """
        from scipy.optimize import linear_sum_assignment  # takes long to load; training needs it

        result = []
        for picture, one in enumerate(zip(logits, masks, targets, strict=True)):
            cost = self.cost(*one, picture=picture).cpu()
            queries, segments = linear_sum_assignment(cost.numpy())
            result.append((place(queries, logits.device), place(segments, logits.device)))
        return result

    def cost(self, logits: Tensor, masks: Tensor, target: MaskTargets, picture: int = 0) -> Tensor:
        """Cost of every pair, in float32.

        Args:
            logits: (Q, K + 1).
            masks: (Q, h, w).
            target: n segments.
            picture: which of the batch it is, for its random points.

        Returns:
            (Q, n).
        """
        points = self.draw([picture], (self.points, 2), masks.device)
        with torch.autocast(masks.device.type, enabled=False):
            predicted = sample_points(masks.float(), points)
            truth = sample_points(target.masks.float(), points)
            probability = logits.float().softmax(-1)[:, target.labels]
            positive, negative = F.softplus(-predicted), F.softplus(predicted)
            entropy = (positive @ truth.t() + negative @ (1 - truth).t()) / self.points
            soft = predicted.sigmoid()
            total = soft.sum(-1)[:, None] + truth.sum(-1)[None, :]
            dice = 1 - (2 * soft @ truth.t() + 1) / (total + 1)
        return (
            self.mask_weight * entropy - self.class_weight * probability + self.dice_weight * dice
        )
