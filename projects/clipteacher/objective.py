"""One training step from teacher tokens and student features to all losses (eq. 8-12).

Letters: B pictures, C channels, N seen classes, G potential classes, H x W token grid, h x w
student grid, Y x X labels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ovs_core.errors import UserError
from ovs_core.modeling.losses import MaskLoss

from .adapter import VisualLanguageAdapter
from .checks import check_choice
from .fused_labels import IGNORE, FusedLabels, class_centroids, fuse_labels, sample_nearest
from .glm import GlobalLearning
from .potential import PotentialObjects

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


@dataclass
class Pixels:
    """What the Pixel Learning Module made of a batch.

    Attributes:
        token_mask: (B, H, W) bool, tokens of unannotated area.
        groups: (B, H, W) potential objects, -1 for none.
        labels: fused labels at both sizes.
        centroid_ids: (P,) classes with a centroid.
        centroids: (P, C).
        prototypes: (P, C) adapter outputs.
        logits: (B, N + G, h, w), seen columns first.
    """

    token_mask: Tensor
    groups: Tensor
    labels: FusedLabels
    centroid_ids: Tensor
    centroids: Tensor
    prototypes: Tensor
    logits: Tensor


@dataclass
class Step:
    """Weighted losses and, unless all pixel losses are off, what they stand on."""

    losses: dict[str, Tensor] = field(default_factory=dict)
    pixels: Pixels | None = None


class Objective(nn.Module):
    """Global and Pixel Learning Module with all losses.

    Args:
        glm: Global Learning Module; None leaves it out (Table 3).
        potential: finder of potential objects; None leaves them out.
        adapter: Visual-Language Adapter.
        settings: weights and readings.
    """

    def __init__(
        self,
        *,
        glm: GlobalLearning | None,
        potential: PotentialObjects | None,
        adapter: VisualLanguageAdapter,
        settings: LossSettings | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings or LossSettings()
        self.glm = glm if self.settings.glob else None
        self.potential, self.adapter = potential, adapter
        loss = self.settings
        self.mask_loss = MaskLoss(focal=loss.focal, dice=loss.dice, skip_unnamed=loss.skip_ignored)

    def forward(
        self,
        dense: Tensor,
        cls: Tensor,
        tokens: Tensor,
        *,
        labels: Tensor,
        padding: Tensor,
        text: Tensor,
    ) -> Step:
        """Compute the losses of a batch, in float32 whatever the caller's precision.

        Args:
            dense: (B, C, h, w) raw student features.
            cls: (B, C) teacher CLS tokens.
            tokens: (B, C', H, W) teacher tokens.
            labels: (B, Y, X) seen ids, -1 for unannotated.
            padding: (B, Y, X) bool, pixels outside the pictures.
            text: (N, C) unit text features of the seen classes.
        """
        step = Step()
        with torch.autocast(dense.device.type, enabled=False):
            dense, cls, text = dense.float(), cls.float(), text.float()
            if self.glm is not None:
                valid = ~sample_nearest(padding, tuple(dense.shape[-2:]))
                value = self.glm(dense, cls, valid=valid if padding.any() else None)
                step.losses["loss_global"] = self.settings.glob * value
            if self.settings.pixelwise:
                step.pixels = self.pixels(dense, cls, tokens, labels, padding, text)
                step.losses |= self.pixel_losses(step.pixels, text)
            used = step.pixels is not None and len(step.pixels.centroid_ids)
            if not used:  # distributed training wants a gradient for every parameter
                silent = sum((p.sum() * 0.0 for p in self.adapter.parameters()), dense.sum() * 0.0)
                name = next(iter(step.losses), "loss_none")
                step.losses[name] = step.losses.get(name, 0.0) + silent
        return step

    def pixels(
        self,
        dense: Tensor,
        cls: Tensor,
        tokens: Tensor,
        labels: Tensor,
        padding: Tensor,
        text: Tensor,
    ) -> Pixels:
        """Find potential objects, fuse the labels, generate the classifier; see ``forward``."""
        mask, groups = self.find_objects(tokens, labels, padding)
        fused = fuse_labels(
            labels, padding, groups, seen=len(text), student_grid=tuple(dense.shape[-2:])
        )
        classes = len(text) + int(fused.kept.sum())
        ids, centroids = class_centroids(dense, fused.small, classes)
        prototypes = self.adapter(centroids, cls) if len(ids) else centroids
        rows = torch.cat([text, prototypes[ids >= len(text)]])
        logits = torch.einsum("kc,bchw->bkhw", rows, dense)
        return Pixels(mask, groups, fused, ids, centroids, prototypes, logits)

    def find_objects(
        self, tokens: Tensor, labels: Tensor, padding: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Ignored tokens and their groups, both (B, H, W); no group without a finder."""
        grid = tuple(tokens.shape[-2:])
        if self.potential is None:
            nothing = labels.new_full((len(labels), *grid), IGNORE)
            return torch.zeros_like(nothing, dtype=torch.bool), nothing
        mask = self.potential.token_mask(labels < 0, padding, grid)
        return mask, self.potential(tokens, mask)[0]

    def pixel_losses(self, pixels: Pixels, text: Tensor) -> dict[str, Tensor]:
        """Weighted losses of logits and prototypes; see ``forward`` for ``text``."""
        settings, losses = self.settings, {}
        if settings.ce:
            value = cross_entropy(
                pixels.logits, pixels.labels.full, all_pixels=settings.ce_all_pixels
            )
            losses["loss_ce"] = settings.ce * value
        if settings.focal or settings.dice:
            losses |= self.mask_loss(pixels.logits, pixels.labels.full)
        if settings.generate:
            seen = pixels.centroid_ids < len(text)
            value = generate_loss(
                pixels.prototypes[seen],
                text[pixels.centroid_ids[seen]],
                settings.generate_reduction,
            )
            losses["loss_generate"] = settings.generate * value
        return losses


def cross_entropy(logits: Tensor, labels: Tensor, *, all_pixels: bool = False) -> Tensor:
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
    count = labels.numel() if all_pixels else (labels != IGNORE).sum()
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
    size = tuple(labels.shape)
    maps = F.interpolate(logits[None], size=size, mode="bilinear", align_corners=False)
    return F.cross_entropy(maps, labels[None], ignore_index=IGNORE, reduction="sum")
