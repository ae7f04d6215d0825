"""One training step from teacher tokens and student features to all losses (eq. 8-12).

Letters: B pictures, C channels, N seen classes, G potential classes, P classes with a centroid,
H x W token grid, h x w student grid, Y x X labels.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from ovs_core.modeling.losses import MaskLoss
from ovs_core.modeling.per_picture import seed_for
from ovs_core.modeling.scores import size_of

from .adapter import VisualLanguageAdapter
from .fused_labels import NO_CLASS, FusedLabels, class_centroids, fuse_labels, sample_nearest
from .glm import GlobalLearning, StepTokens
from .losses import LossSettings, generate_loss, pixel_cross_entropy, training_logits
from .potential import PotentialObjects


@dataclass(frozen=True)
class Material:
    """What the losses of a batch are made of.

    Attributes:
        dense: (B, C, h, w) raw student features.
        cls: (B, C) teacher CLS tokens.
        tokens: (B, C', H, W) teacher tokens.
        labels: (B, Y, X) seen ids, -1 for unannotated.
        padding: (B, Y, X) bool, pixels outside the pictures.
        text: (N, C) unit text features of the seen classes.
        step: CLS tokens of the step that the pictures are a part of; None if they are all.
        first: place of the first picture in the batch that random numbers are drawn for.
    """

    dense: Tensor
    cls: Tensor
    tokens: Tensor
    labels: Tensor
    padding: Tensor
    text: Tensor
    step: StepTokens | None = None
    first: int = 0

    def groups(self, pictures: int) -> list[Material]:
        """Cut into groups of so many neighbouring pictures; the last one may be smaller."""
        names = ("dense", "cls", "tokens", "labels", "padding")
        parts = zip(*(getattr(self, name).split(pictures) for name in names), strict=True)
        found = []
        for number, part in enumerate(parts):
            first = self.first + number * pictures
            step = self.step and self.step._replace(start=self.step.start + number * pictures)
            own = dict(zip(names, part, strict=True))
            found.append(replace(self, **own, step=step, first=first))
        return found


@dataclass(frozen=True)
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
    """Outcome of a batch.

    Attributes:
        losses: name -> weighted loss.
        pixels: what the pixel losses stand on; None if all of them are off.
    """

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

    def forward(self, material: Material) -> Step:
        """Compute the losses of a batch, in float32 whatever the caller's precision."""
        step = Step()
        dense = material.dense
        with torch.autocast(dense.device.type, enabled=False):
            material = replace(
                material,
                dense=dense.float(),
                cls=material.cls.float(),
                text=material.text.float(),
            )
            if self.glm is not None:
                value = self._global_loss(self.glm, material)
                step.losses["loss_global"] = self.settings.glob * value
            if self.settings.pixelwise:
                step.pixels = self.pixels(material)
                step.losses |= self.pixel_losses(step.pixels, material.text)
            if step.pixels is None or not len(step.pixels.centroid_ids):
                self._reach_every_parameter(step.losses, material.dense)
        return step

    def pixels(self, material: Material) -> Pixels:
        """Find potential objects, fuse the labels, generate the classifier."""
        dense, text = material.dense, material.text
        mask, groups = self.find_objects(material.tokens, material.labels, material.padding)
        fused = fuse_labels(
            material.labels,
            material.padding,
            groups,
            seen=len(text),
            student_grid=size_of(dense),
        )
        classes = len(text) + int(fused.kept.sum())
        ids, centroids = class_centroids(dense, fused.small, classes)
        seed_for(material.first)  # the adapter's dropout is the group's, not the batch's
        prototypes = self.adapter(centroids, material.cls) if len(ids) else centroids
        logits = training_logits(dense, text, prototypes[ids >= len(text)], self.settings)
        return Pixels(mask, groups, fused, ids, centroids, prototypes, logits)

    def find_objects(
        self, tokens: Tensor, labels: Tensor, padding: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Ignored tokens and their groups, both (B, H, W); no group without a finder."""
        grid = size_of(tokens)
        if self.potential is None:
            nothing = labels.new_full((len(labels), *grid), NO_CLASS)
            return torch.zeros_like(nothing, dtype=torch.bool), nothing
        mask = self.potential.token_mask(labels < 0, padding, grid)
        return mask, self.potential(tokens, mask)[0]

    def pixel_losses(self, pixels: Pixels, text: Tensor) -> dict[str, Tensor]:
        """Weighted losses of logits and prototypes.

        Args:
            pixels: from ``pixels``.
            text: (N, C) unit text features of the seen classes.
        """
        settings, losses = self.settings, {}
        if settings.ce:
            value = pixel_cross_entropy(
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
                settings.generate_kind,
            )
            losses["loss_generate"] = settings.generate * value
        return losses

    def _global_loss(self, glm: GlobalLearning, material: Material) -> Tensor:
        valid = ~sample_nearest(material.padding, size_of(material.dense))
        padded = bool(material.padding.any())
        valid_cells = valid if padded else None
        return glm(material.dense, material.cls, valid=valid_cells, step=material.step)

    def _reach_every_parameter(self, losses: dict[str, Tensor], dense: Tensor) -> None:
        """Add nothing, with a gradient for every parameter, so that each step treats all alike."""
        silent = sum((p.sum() * 0.0 for p in self.adapter.parameters()), dense.sum() * 0.0)
        name = next(iter(losses), "loss_none")
        losses[name] = losses.get(name, 0.0) + silent
