"""Losses of pixels and of the adapter's rows, and what each of them weighs (eq. 8, 10-12).

Letters: B pictures, C channels, K classes of the batch, P classes with a centroid, h x w student
grid, Y x X labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ovs_core.errors import UserError, check_choice
from ovs_core.modeling.scores import resize, size_of

from .fused_labels import NO_CLASS

GENERATE_REDUCTIONS = ("mean", "sum", "elements")
GENERATE_KINDS = ("mse", "bce")
PSEUDO_LOGITS = ("inner", "cosine")
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
        generate_kind: ``mse`` (eq. 8), or ``bce``, as the later revision has it.
        pseudo_logits: of potential classes: ``inner`` products (eq. 9), or ``cosine``, as the later
            revision has it.
        alpha: factor on the logits of seen classes, with ``cosine``.
        beta: factor on the cosines of potential classes.
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
    generate_kind: str = "mse"
    pseudo_logits: str = "inner"
    alpha: float = 1.0
    beta: float = 1.0
    ce_all_pixels: bool = False
    skip_ignored: bool = False

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            UserError: for an unknown reduction or kind, or a negative weight.
        """
        check_choice(f"{KEY}.GENERATE_REDUCTION", self.generate_reduction, GENERATE_REDUCTIONS)
        check_choice(f"{KEY}.GENERATE_KIND", self.generate_kind, GENERATE_KINDS)
        check_choice(f"{KEY}.PSEUDO_LOGITS", self.pseudo_logits, PSEUDO_LOGITS)
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


def training_logits(dense: Tensor, text: Tensor, own: Tensor, settings: LossSettings) -> Tensor:
    """Compare student features with the classifier (eq. 9).

    Args:
        dense: (B, C, h, w) student features.
        text: (N, C) rows of seen classes.
        own: (G, C) rows of potential classes.
        settings: how potential classes are compared.

    Returns:
        (B, N + G, h, w), seen columns first.
    """
    if settings.pseudo_logits == "inner":
        return torch.einsum("kc,bchw->bkhw", torch.cat([text, own]), dense)
    seen = torch.einsum("kc,bchw->bkhw", text, dense)
    units = (F.normalize(own, dim=-1), F.normalize(dense, dim=1))
    potential = torch.einsum("kc,bchw->bkhw", *units)
    return torch.cat([settings.alpha * seen, settings.beta * potential], dim=1)


def generate_loss(
    prototypes: Tensor, text: Tensor, reduction: str = "mean", kind: str = "mse"
) -> Tensor:
    """How far the adapter's rows are from the text features.

    ``mse`` is their squared distance (eq. 8). ``bce`` takes the inner products of all rows with all
    text features of the same classes as logits, each of its own class against the others.

    Args:
        prototypes: (P, C) rows of seen classes that have a centroid.
        text: (P, C) their text features.
        reduction: ``mean`` over classes, ``sum``, or mean over ``elements``.
        kind: of ``GENERATE_KINDS``.

    Returns:
        Scalar, 0 if P is 0.
    """
    if kind == "mse":
        terms = (prototypes - text).square()
    else:
        logits = text @ prototypes.T
        own = torch.eye(len(text), dtype=logits.dtype, device=logits.device)
        terms = F.binary_cross_entropy_with_logits(logits, own, reduction="none")
    total = terms.sum()
    divisors = {"mean": len(text), "sum": 1, "elements": terms.numel()}
    return total / max(divisors[reduction], 1)


def _picture_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    maps = resize(logits[None], size_of(labels))
    return F.cross_entropy(maps, labels[None], ignore_index=NO_CLASS, reduction="sum")
