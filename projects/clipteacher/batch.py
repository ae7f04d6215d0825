"""From Detectron2's list of samples to tensors of one size, labels in the order of seen classes.

Letters: B pictures, K classes of the dataset, Y x X the common size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ovs_core.errors import UserError
from ovs_core.modeling.padding import stack_padded
from ovs_core.modeling.scores import Size, size_of
from ovs_core.words.label_space import IGNORE, ClassSplit

from .fused_labels import NO_CLASS


@dataclass(frozen=True)
class Batch:
    """A training batch.

    Attributes:
        pictures: B x (3, y, x) RGB in 0..255, unpadded.
        labels: (B, Y, X) positions among the seen classes, -1 for everything else.
        padding: (B, Y, X) bool, pixels outside the pictures.
    """

    pictures: list[Tensor]
    labels: Tensor
    padding: Tensor

    def images(self, normalize: Callable[[Tensor], Tensor]) -> Tensor:
        """(B, 3, Y, X) pictures in a network's statistics, padded right and below with zeros."""
        size = size_of(self.labels)
        return stack_padded(map(normalize, self.pictures), size)


def make_batch(
    samples: Sequence[dict[str, Any]],
    *,
    classes: int,
    unseen: Sequence[int],
    size: Size,
    divisor: int,
    device: torch.device,
) -> Batch:
    """Bring samples to one size.

    Args:
        samples: with ``image``, ``sem_seg`` and, where a mapper padded, ``padding_mask``.
        classes: K.
        unseen: indices whose pixels are as unlabelled.
        size: (H, W), no picture is larger.
        divisor: both sides become multiples of this.
        device: where the tensors go.

    Raises:
        UserError: for a sample without labels, or a label out of range.
    """
    if any("sem_seg" not in one for one in samples):
        raise UserError("a training sample has no sem_seg; take a dataset with semantic labels")
    pictures = [one["image"].to(device, non_blocking=True) for one in samples]
    # Labels are looked at where they are: a GPU would be waited for.
    truth = [one["sem_seg"].long() for one in samples]
    outside = [
        one.get("padding_mask", torch.zeros_like(labels, dtype=torch.bool))
        for one, labels in zip(samples, truth, strict=True)
    ]
    labels = stack_padded(truth, size, divisor=divisor, value=IGNORE)
    padding = stack_padded(outside, size, divisor=divisor, value=True)
    split = ClassSplit.from_unseen(unseen, classes)
    seen = split.relabel(labels, hidden=IGNORE)
    shown = seen.masked_fill((seen == IGNORE) | padding, NO_CLASS)
    return Batch(
        pictures, shown.to(device, non_blocking=True), padding.to(device, non_blocking=True)
    )
