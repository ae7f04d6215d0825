"""Losses of per-class masks: focal, dice and SSIM, each class against the rest.

The masks are logits on a small grid and the labels are at picture size. With K = 171 classes at
512 x 512 a single float map of all classes takes 171 MiB per picture, and the textbook form keeps a
dozen of them. Here every (picture, class) pair is one map; pairs go through in chunks, each chunk's
gradient is formed at once and kept on the small grid; and pairs without a labelled pixel, nearly
all of them, use the short form that an empty mask allows.

Letters: B pictures, K classes, P pairs, h x w grid, H x W labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from ..errors import check_choice
from .chunked_sum import chunked_sum
from .scores import Size, size_of
from .ssim import empty_ssim_map, enlargement_matrix, ssim_map, upsampled_empty_ssim_map

CHUNK_BYTES = {"cpu": 8 * 2**20, "cuda": 256 * 2**20}  # of one full-size map stack
SSIM_INPUTS = ("logits", "sigmoid")


@dataclass(frozen=True)
class MaskLoss:
    """Weighted sum of focal, dice and SSIM losses between class masks and labels.

    A pixel belongs to the class that its label names and is a negative of all others. A label
    outside 0..K-1 names no class: such a pixel is a negative of every class, as ZegCLIP has it.

    Attributes:
        focal: weight of the focal loss (mean over pixels, sum over pairs, divided by the number of
            pairs that are present).
        dice: weight of the dice loss (present pairs only, mean over them).
        ssim: weight of 1 - SSIM (mean over all pairs and pixels).
        alpha: focal weight of positives; negatives have 1 - alpha.
        gamma: focal exponent.
        ssim_on: ``"logits"`` or ``"sigmoid"``: what SSIM compares with the masks.
        skip_unnamed: leave pixels whose label names no class out of focal and dice losses.
    """

    focal: float = 100.0
    dice: float = 1.0
    ssim: float = 0.0
    alpha: float = 0.25
    gamma: float = 2.0
    ssim_on: str = "logits"
    skip_unnamed: bool = False

    def __post_init__(self) -> None:
        """Check the choice.

        Raises:
            UserError: if ``ssim_on`` is unknown.
        """
        check_choice("SSIM_ON", self.ssim_on, SSIM_INPUTS)

    def __call__(
        self, logits: Tensor, labels: Tensor, pairs: float | None = None
    ) -> dict[str, Tensor]:
        """Compute the weighted losses.

        Args:
            logits: (B, K, h, w), enlarged bilinearly to the labels' size.
            labels: (B, H, W) integers.
            pairs: present pairs that focal and dice sums are divided by, in a part of a step; None
                for those of the labels.

        Returns:
            ``loss_focal``, ``loss_dice`` and ``loss_ssim``, those whose weight is not 0.
        """
        with torch.autocast(logits.device.type, enabled=False):
            terms = self._sums(logits.float(), labels)
        own = terms.pop("pairs").clamp(min=1)
        divisor = own if pairs is None else pairs
        divisors = {"focal": divisor, "dice": divisor, "ssim": 1.0}
        return {
            f"loss_{name}": getattr(self, name) * value / divisors[name]
            for name, value in terms.items()
        }

    def _sums(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        names = [name for name in ("focal", "dice", "ssim") if getattr(self, name)]
        labels = labels.to(logits.device)
        present = present_classes(labels, logits.shape[1]).flatten()
        maps, pairs = logits.flatten(0, 1), torch.arange(present.numel(), device=logits.device)
        weights = self._pixel_weights(labels, logits.shape[1])
        pixels = labels[0].numel()

        def labelled(grids: Tensor, which: Tensor) -> list[Tensor]:
            picture, index = which // logits.shape[1], which % logits.shape[1]
            masks = labels[picture] == index[:, None, None]
            return self._labelled_terms(names, grids, masks, weights, picture)

        def empty(grids: Tensor, which: Tensor) -> list[Tensor]:
            picture = which // logits.shape[1]
            return self._empty_terms(names, grids, size_of(labels), weights, picture)

        total = logits.new_zeros(len(names))
        step = max(1, CHUNK_BYTES.get(logits.device.type, CHUNK_BYTES["cuda"]) // (4 * pixels))
        for term, chosen in ((labelled, pairs[present]), (empty, pairs[~present])):
            if len(chosen):
                total = total + chunked_sum(maps[chosen], chosen, term, step)
        sums = dict(zip(names, total.unbind(), strict=True))
        if "ssim" in sums:
            sums["ssim"] = 1 - sums["ssim"] / (len(pairs) * pixels)
        return {**sums, "pairs": present.sum()}

    def _labelled_terms(
        self,
        names: list[str],
        grids: Tensor,
        masks: Tensor,
        weights: Tensor | None,
        picture: Tensor,
    ) -> list[Tensor]:
        """Sums over pairs that have pixels: the losses as they are defined."""
        maps = enlarge(grids, size_of(masks))
        terms: dict[str, Callable[[], Tensor]] = {
            "focal": lambda: _pixel_mean(
                sigmoid_focal_loss(maps, masks.to(maps.dtype), self.alpha, self.gamma),
                weights,
                picture,
            ),
            "dice": lambda: dice_loss(
                maps, masks, keep=None if weights is None else weights[picture] > 0
            ).sum(),
            "ssim": lambda: ssim_map(self._ssim_input(maps), masks).sum(),
        }
        return [terms[name]() for name in names]

    def _empty_terms(
        self,
        names: list[str],
        grids: Tensor,
        size: Size,
        weights: Tensor | None,
        picture: Tensor,
    ) -> list[Tensor]:
        """The same sums over pairs without a pixel: no dice, no mask, no covariance."""

        def focal() -> Tensor:
            maps = enlarge(grids, size)
            values = (1 - self.alpha) * F.softplus(maps) * torch.sigmoid(maps) ** self.gamma
            return _pixel_mean(values, weights, picture)

        def ssim() -> Tensor:
            if self.ssim_on == "logits" and size != size_of(grids):
                return upsampled_empty_ssim_map(grids, size).sum()
            return empty_ssim_map(self._ssim_input(enlarge(grids, size))).sum()

        terms = {"focal": focal, "dice": lambda: grids.sum() * 0, "ssim": ssim}
        return [terms[name]() for name in names]

    def _ssim_input(self, maps: Tensor) -> Tensor:
        return maps if self.ssim_on == "logits" else torch.sigmoid(maps)

    def _pixel_weights(self, labels: Tensor, classes: int) -> Tensor | None:
        """(B, H, W) weights of the focal mean; None for the plain mean."""
        if not self.skip_unnamed:
            return None
        named = ((labels >= 0) & (labels < classes)).float()
        return named / named.sum(dim=(1, 2), keepdim=True).clamp(min=1)


def enlarge(grids: Tensor, size: Size) -> Tensor:
    """Bilinear enlargement as two matrix products, whose gradient is cheap as well.

    Args:
        grids: (P, h, w).
        size: (H, W).

    Returns:
        (P, H, W), as ``F.interpolate(..., align_corners=False)`` up to rounding.
    """
    grid = size_of(grids)
    if grid == size:
        return grids
    rows, columns = (enlargement_matrix(n, m, grids) for n, m in zip(grid, size, strict=True))
    return rows @ (grids @ columns.T)


def dice_loss(
    maps: Tensor, masks: Tensor, *, smooth: float = 1.0, keep: Tensor | None = None
) -> Tensor:
    """One minus the soft dice overlap of each map with its mask.

    Args:
        maps: (P, ...) logits.
        masks: (P, ...) of 0 and 1.
        smooth: added above and below, so that two empty masks agree.
        keep: (P, ...) bool, pixels that count; None for all.

    Returns:
        (P,) losses.
    """
    shares, masks = torch.sigmoid(maps).flatten(1), masks.flatten(1).to(maps.dtype)
    if keep is not None:
        shares = shares * keep.flatten(1)
    overlap = (shares * masks).sum(dim=1)
    return 1 - (2 * overlap + smooth) / (shares.sum(dim=1) + masks.sum(dim=1) + smooth)


def present_classes(labels: Tensor, classes: int) -> Tensor:
    """Say which of K classes have a pixel in each picture.

    Args:
        labels: (B, H, W) integers; values outside 0..K-1 name no class.
        classes: K.

    Returns:
        (B, K) bool.
    """
    index = torch.where((labels >= 0) & (labels < classes), labels, classes).flatten(1).long()
    found = torch.zeros(len(labels), classes + 1, dtype=torch.bool, device=labels.device)
    return found.scatter_(1, index, True)[:, :classes]


def _pixel_mean(values: Tensor, weights: Tensor | None, picture: Tensor) -> Tensor:
    if weights is None:
        return values.sum() / values[0].numel()
    return (values * weights[picture]).sum()
