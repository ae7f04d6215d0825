"""From Detectron2's list of samples to tensors of one size, labels in the order of seen classes.

Letters: B pictures, K classes of the dataset, Y x X the common size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ovs_core.errors import UserError
from ovs_core.modeling.scores import size_of
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
        return torch.stack([_pad(normalize(one), size) for one in self.pictures])


def make_batch(
    samples: Sequence[dict[str, Any]],
    *,
    classes: int,
    unseen: Sequence[int],
    divisor: int,
    device: torch.device,
) -> Batch:
    """Bring samples to one size.

    Args:
        samples: with ``image``, ``sem_seg`` and, where a mapper padded, ``padding_mask``.
        classes: K.
        unseen: indices whose pixels are as unlabelled.
        divisor: both sides become multiples of this.
        device: where the tensors go.

    Raises:
        UserError: for a sample without labels, or a label out of range.
    """
    if any("sem_seg" not in one for one in samples):
        raise UserError("a training sample has no sem_seg; take a dataset with semantic labels")
    pictures = [one["image"].to(device) for one in samples]
    size = tuple(
        divisor * -(-max(one.shape[axis] for one in pictures) // divisor) for axis in (-2, -1)
    )
    labels, padding = [], []
    for one in samples:
        truth = one["sem_seg"].to(device).long()
        outside = one.get("padding_mask", torch.zeros_like(truth, dtype=torch.bool)).to(device)
        labels.append(_pad(truth, size, IGNORE))
        padding.append(_pad(outside, size, True))
    split = ClassSplit.from_unseen(unseen, classes)
    seen, outside = split.relabel(torch.stack(labels), hidden=IGNORE), torch.stack(padding)
    return Batch(pictures, seen.masked_fill((seen == IGNORE) | outside, NO_CLASS), outside)


def _pad(maps: Tensor, size: tuple[int, int], value: float = 0.0) -> Tensor:
    height, width = maps.shape[-2:]
    return F.pad(maps, (0, size[1] - width, 0, size[0] - height), value=value)
