"""Representation Compensation (MAFT+): the fine-tuned trunk stays near the original one.

Letters: B pictures, C channels, H x W feature map, D numbers of a descriptor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ovs_core.errors import UserError, check_choice

PREPARATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "none": lambda features: features,
    "pow": torch.square,
}
# Of two descriptors (B, D).
DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sl1": F.smooth_l1_loss,
    "l1": lambda a, b: F.l1_loss(a, b, reduction="none").sum(dim=1).mean(),
    "frobenius": lambda a, b: torch.linalg.vector_norm(a.float() - b.float(), dim=1).mean(),
}


@dataclass(frozen=True)
class Compensation:
    """Distance of two trunks in pooled strips at several scales.

    Attributes:
        scales: pooled cells along the width, for each scale.
        preparation: what is done to features first: ``relu``, ``none`` or ``pow`` (squares).
        distance: of two descriptors: ``sl1`` (SmoothL1, mean over all numbers), ``l1`` (sum of
            absolute differences of a picture, mean over pictures) or ``frobenius`` (length of the
            difference of a picture, mean over pictures).
    """

    scales: tuple[int, ...] = (1, 2, 4)
    preparation: str = "relu"
    distance: str = "sl1"

    def __post_init__(self) -> None:
        """Refuse what does not exist."""
        check_choice("MODEL.MAFTPLUS.RC_PREPARATION", self.preparation, PREPARATIONS)
        check_choice("MODEL.MAFTPLUS.RC_DISTANCE", self.distance, DISTANCES)

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare.

        Args:
            student: (B, C, H, W) features of the trained trunk.
            teacher: (B, C, H, W) features of the original trunk.

        Returns:
            Scalar loss, not weighted.

        Raises:
            UserError: if the map is narrower than the finest scale: with scale 4, if the padded
                pictures are narrower than 128 pixels.
        """
        return DISTANCES[self.distance](self._descriptor(student), self._descriptor(teacher))

    def _descriptor(self, features: Tensor) -> Tensor:
        """(B, 2 C sum(scales)) for square maps whose side is a multiple of every scale."""
        height, width = features.shape[-2:]
        if width < max(self.scales):
            raise UserError(
                f"representation compensation needs training pictures of {32 * max(self.scales)} "
                f"pixels width or more after padding, but the feature map is {width} cells wide; "
                "enlarge INPUT.MIN_SIZE_TRAIN or INPUT.IMAGE_SIZE"
            )
        x = PREPARATIONS[self.preparation](features.float())  # sums of many cells follow
        if height != width:
            side = max(height, width)
            x = F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)
        strips = []
        for scale in self.scales:
            # The kernel comes from the width before the resize, also for tall maps, as published.
            pooled = F.avg_pool2d(x, width // scale)
            strips += [pooled.sum(dim=2).flatten(1), pooled.sum(dim=3).flatten(1)]
        return torch.cat(strips, dim=1)
