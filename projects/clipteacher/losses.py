"""Losses of pixels and of the adapter's rows, and what each of them weighs (eq. 8, 10-12).

Letters: B pictures, C channels, K classes of the batch, P classes with a centroid, h x w student
grid, Y x X labels.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ovs_core.errors import UserError, check_choice
from ovs_core.modeling.scores import resize, size_of

from .fused_labels import NO_CLASS

GENERATE_REDUCTIONS = ("mean", "sum", "elements")
KEY = "MODEL.CLIPTEACHER.LOSS"


@dataclass(frozen=True)
class LossSettings:
    """Weights (0 skips the term's work) and readings of the losses.

    Attributes:
        glob: weight of the Global Learning Module's loss (eq. 3).
        ce: weight of the cross entropy (eq. 10).
        focal: weight of the sigmoid focal loss; 100 as ZegCLIP's code has it, the paper prints 1.
        dice: weight of the dice loss.
        generate: weight of the adapter's loss (eq. 8).
        generate_reduction: ``mean`` over classes, ``sum`` (eq. 8), or mean over ``elements``.
        ce_all_pixels: divide the cross entropy by all pixels, not by the labelled ones.
        skip_ignored: leave ignored pixels out of the focal and dice losses, where they are
            negatives of every class.
    """

    glob: float = 1.0
    ce: float = 1.0
    focal: float = 100.0
    dice: float = 1.0
    generate: float = 1.0
    generate_reduction: str = "mean"
    ce_all_pixels: bool = False
    skip_ignored: bool = False

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            UserError: for an unknown reduction or a negative weight.
        """
        check_choice(f"{KEY}.GENERATE_REDUCTION", self.generate_reduction, GENERATE_REDUCTIONS)
        if min(self.glob, self.ce, self.focal, self.dice, self.generate) < 0:
            raise UserError(f"{KEY}: no weight may be negative")

    @property
    def pixelwise(self) -> bool:
        """Whether any term needs the Pixel Learning Module."""
        return any((self.ce, self.focal, self.dice, self.generate))


def pixel_cross_entropy(logits: Tensor, labels: Tensor, *, all_pixels: bool = False) -> Tensor:
    """Cross entropy of enlarged logits; pictures go through one by one to save memory.

    Args:
        logits: (B, K, h, w).
        labels: (B, Y, X), -1 for ignored pixels.
        all_pixels: divide by all pixels instead of the labelled ones.

    Returns:
        Scalar, 0 if nothing is labelled.
    """
    total = logits.sum() * 0.0
    for one, truth in zip(logits, labels, strict=True):
        total = total + checkpoint(_picture_entropy, one, truth, use_reentrant=False)
    count = labels.numel() if all_pixels else (labels != NO_CLASS).sum()
    return total / max(int(count), 1)


def generate_loss(prototypes: Tensor, text: Tensor, reduction: str = "mean") -> Tensor:
    """Squared distance of the adapter's rows from the text features (eq. 8).

    Args:
        prototypes: (P, C) rows of seen classes that have a centroid.
        text: (P, C) their text features.
        reduction: ``mean`` over classes, ``sum``, or mean over ``elements``.

    Returns:
        Scalar, 0 if P is 0.
    """
    total = (prototypes - text).square().sum()
    divisors = {"mean": len(text), "sum": 1, "elements": text.numel()}
    return total / max(divisors[reduction], 1)


def _picture_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    maps = resize(logits[None], size_of(labels))
    return F.cross_entropy(maps, labels[None], ignore_index=NO_CLASS, reduction="sum")
