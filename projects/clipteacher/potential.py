"""Potential objects of the Pixel Learning Module (section 3.3, eq. 4-5, Algorithm 1).

Teacher tokens on unannotated areas are clustered by K-means (``kmeans.py``), started from window
means at several scales; clusters with similar centres are fused (``mask_fusion.py``). All pictures
of a batch go through together.

Letters: B pictures, C channels, H x W token grid, n = H * W, K centres, Y x X labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ovs_core.errors import UserError, check_choice

from .fused_labels import sample_nearest
from .kmeans import DISTANCES, Clusters, kmeans
from .mask_fusion import fuse_centers, number_by_appearance

TOKEN_RULES = ("majority", "any", "nearest")
WINDOW_MODES = ("grid", "size")
CENTER_SCOPES = ("all", "ignored")
KEY = "MODEL.CLIPTEACHER.PLM"


@dataclass(frozen=True)
class PotentialObjects:
    """Find regions of unannotated area that may be objects.

    Attributes:
        token_rule: which tokens count as ignored: ``majority`` of their pixels, ``any`` pixel, or
            the ``nearest`` pixel to their centre.
        windows: scales s of eq. 4.
        window_mode: ``grid``: s x s windows that share the grid out (eq. 4-5); ``size``: windows of
            s x s tokens.
        center_scope: means over ``all`` tokens of a window (eq. 5), or only ``ignored`` ones.
        distance: ``cosine`` or ``euclidean``.
        iterations: most centre updates.
        threshold: similarity from which centres are fused (lambda).
        keep_leftover: keep clusters that are similar to none as groups of their own.
    """

    token_rule: str = "majority"
    windows: Sequence[int] = (3, 7)
    window_mode: str = "grid"
    center_scope: str = "all"
    distance: str = "cosine"
    iterations: int = 10
    threshold: float = 0.8
    keep_leftover: bool = True

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            UserError: for an unknown choice or a number out of range.
        """
        check_choice(f"{KEY}.TOKEN_RULE", self.token_rule, TOKEN_RULES)
        check_choice(f"{KEY}.WINDOW_MODE", self.window_mode, WINDOW_MODES)
        check_choice(f"{KEY}.CENTER_SCOPE", self.center_scope, CENTER_SCOPES)
        check_choice(f"{KEY}.DISTANCE", self.distance, DISTANCES)
        if not self.windows or min(self.windows) < 1 or self.iterations < 0:
            raise UserError(
                f"{KEY}: WINDOWS {list(self.windows)} must name positive sizes and ITERS "
                f"{self.iterations} must not be negative"
            )

    @torch.no_grad()
    def __call__(self, tokens: Tensor, ignored: Tensor) -> tuple[Tensor, Tensor]:
        """Group the ignored tokens of every picture.

        Args:
            tokens: (B, C, H, W) dense teacher tokens.
            ignored: (B, H, W) bool, tokens of unannotated area.

        Returns:
            Group map (B, H, W) int64, -1 outside the groups, numbered per picture by first
            appearance in reading order; and the number of groups (B,).
        """
        clusters = self.cluster(tokens, ignored)
        member = fuse_centers(
            clusters.centers, clusters.live, self.threshold, keep_leftover=self.keep_leftover
        )
        index = clusters.assignment.clamp(min=0)
        groups = member.gather(1, index).masked_fill(clusters.assignment < 0, -1)
        groups, counts = number_by_appearance(groups, member.shape[1])
        return groups.view_as(ignored).long(), counts

    def token_mask(self, unannotated: Tensor, padding: Tensor, grid: tuple[int, int]) -> Tensor:
        """Decide which tokens lie on unannotated area; padding is none.

        Args:
            unannotated: (B, Y, X) bool, pixels without a label.
            padding: (B, Y, X) bool, pixels outside the picture.
            grid: (H, W).

        Returns:
            (B, H, W) bool.
        """
        wanted = unannotated & ~padding
        if self.token_rule == "nearest":
            return sample_nearest(wanted, grid)
        # A cell's pixels: rows floor(iY/H) to ceil((i+1)Y/H) - 1, as adaptive pooling takes them.
        shares = F.adaptive_avg_pool2d(torch.stack([wanted, ~padding], dim=1).float(), grid)
        ignored, inside = shares.unbind(dim=1)
        if self.token_rule == "any":
            return ignored > 0
        return (2 * ignored >= inside) & (inside > 0)

    def start_centers(self, tokens: Tensor, ignored: Tensor) -> tuple[Tensor, Tensor]:
        """Window means at every scale (eq. 4-5), scale after scale, in reading order.

        Args:
            tokens: (B, C, H, W).
            ignored: (B, H, W) bool.

        Returns:
            (B, K, C) means, and (B, K) bool: which windows take part.
        """
        weights = ignored[:, None].to(tokens.dtype)
        if self.center_scope == "all":
            weights = torch.ones_like(weights)
        sums, shares = [], []
        for scale in self.windows:
            sums.append(self._window_means(tokens * weights, scale).flatten(2))
            shares.append(self._window_means(weights, scale).flatten(2))
        share = torch.cat(shares, dim=2)
        means = torch.cat(sums, dim=2) / share.clamp(min=torch.finfo(share.dtype).tiny)
        return means.transpose(1, 2), share[:, 0] > 0

    def cluster(self, tokens: Tensor, ignored: Tensor) -> Clusters:
        """K-means of the ignored tokens of every picture, in float32.

        Args:
            tokens: (B, C, H, W).
            ignored: (B, H, W) bool.
        """
        tokens = tokens.float()
        return kmeans(
            tokens.flatten(2).transpose(1, 2),
            ignored.flatten(1),
            *self.start_centers(tokens, ignored),
            distance=self.distance,
            iterations=self.iterations,
        )

    def _window_means(self, maps: Tensor, scale: int) -> Tensor:
        if self.window_mode == "grid":
            return F.adaptive_avg_pool2d(maps, scale)
        side = tuple(min(scale, extent) for extent in maps.shape[-2:])
        return F.avg_pool2d(maps, side, stride=side, ceil_mode=True)  # cut windows at the border
