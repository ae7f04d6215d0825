"""Potential objects of the Pixel Learning Module (section 3.3, eq. 4-5, Algorithm 1).

Teacher tokens on unannotated areas are clustered by K-means, started from window means at several
scales; clusters with similar centres are fused. All pictures of a batch go through together.

Algorithm 1 as printed takes the first row instead of the most similar pair, merges a mask twice and
loses masks that are similar to none; ``fuse_centers`` is the repaired reading.

Letters: B pictures, C channels, H x W token grid, n = H * W, K centres, Y x X labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ovs_core.errors import UserError

from .checks import check_choice
from .fused_labels import sample_nearest

TOKEN_RULES = ("majority", "any", "nearest")
WINDOW_MODES = ("grid", "size")
CENTER_SCOPES = ("all", "ignored")
DISTANCES = ("cosine", "euclidean")
ROUNDING = 1e-6  # similarities this close are equal: the first pair in reading order goes first
KEY = "MODEL.CLIPTEACHER.PLM"


@dataclass(frozen=True)
class Clusters:
    """K-means of a batch.

    Attributes:
        start: (B, K, C) window means, before any normalisation.
        usable: (B, K) bool, False for windows that are left out.
        centers: (B, K, C) final centres.
        assignment: (B, n) index of the centre of each token, -1 outside the ignored area.
        live: (B, K) bool, centres with at least one token.
    """

    start: Tensor
    usable: Tensor
    centers: Tensor
    assignment: Tensor
    live: Tensor


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
        start, usable = self.start_centers(tokens, ignored)
        points, inside = tokens.flatten(2).transpose(1, 2), ignored.flatten(1)
        centers = start
        if self.distance == "cosine":
            points, centers = (F.normalize(t, dim=-1, eps=1e-12) for t in (points, centers))
        assignment = self._assign(points, centers, usable)
        for _ in range(self.iterations):
            centers = self._update(points, centers, assignment, inside)
            previous, assignment = assignment, self._assign(points, centers, usable)
            if torch.equal(previous[inside], assignment[inside]):
                break
        assignment = assignment.masked_fill(~inside, -1)
        live = _members(assignment, inside, start.shape[1]).any(dim=1)
        return Clusters(start, usable, centers, assignment, live)

    def _window_means(self, maps: Tensor, scale: int) -> Tensor:
        if self.window_mode == "grid":
            return F.adaptive_avg_pool2d(maps, scale)
        side = tuple(min(scale, extent) for extent in maps.shape[-2:])
        return F.avg_pool2d(maps, side, stride=side, ceil_mode=True)  # cut windows at the border

    def _assign(self, points: Tensor, centers: Tensor, usable: Tensor) -> Tensor:
        """(B, n) nearest centre; the lowest index wins ties."""
        closeness = points @ centers.transpose(1, 2)
        if self.distance == "euclidean":
            closeness = 2 * closeness - centers.square().sum(dim=-1)[:, None]
        return closeness.masked_fill(~usable[:, None], float("-inf")).argmax(dim=-1)

    def _update(
        self, points: Tensor, centers: Tensor, assignment: Tensor, inside: Tensor
    ) -> Tensor:
        members = _members(assignment, inside, centers.shape[1]).to(points.dtype)
        counts = members.sum(dim=1)[..., None]
        means = members.transpose(1, 2) @ points / counts.clamp(min=1)
        if self.distance == "cosine":
            means = F.normalize(means, dim=-1, eps=1e-12)
        return torch.where(counts > 0, means, centers)


@torch.no_grad()
def fuse_centers(
    centers: Tensor, live: Tensor, threshold: float, *, keep_leftover: bool = True
) -> Tensor:
    """Fuse similar centres, most similar pair first (Algorithm 1, repaired).

    The row of the largest similarity takes all free rows that are similar to it; then all of them
    are out. Centres are not computed anew.

    Args:
        centers: (B, K, C).
        live: (B, K) bool, centres that take part.
        threshold: cosine similarity from which (>=) two belong together.
        keep_leftover: make every remaining centre a group of its own, in order of index.

    Returns:
        (B, K) int64 group of each centre in the order of fusion, -1 for none.
    """
    unit = F.normalize(centers.float(), dim=-1, eps=1e-12)
    similar = unit @ unit.transpose(1, 2)
    count = centers.shape[1]
    free = live.clone()
    itself = torch.eye(count, dtype=torch.bool, device=centers.device)
    group = torch.full_like(live, -1, dtype=torch.int64)
    pictures = torch.arange(len(live), device=live.device)
    made = group.new_zeros(len(live), 1)
    while count:
        open_pairs = free[:, :, None] & free[:, None] & ~itself & (similar >= threshold)
        found = open_pairs.flatten(1).any(dim=1)
        if not found.any():
            break
        offered = similar.masked_fill(~open_pairs, float("-inf")).flatten(1)
        largest = offered.amax(dim=1, keepdim=True)
        row = (offered >= largest - ROUNDING).long().argmax(dim=1) // count
        taken = (open_pairs[pictures, row] | itself[row]) & found[:, None]
        group = torch.where(taken, made, group)
        free &= ~taken
        made = made + found[:, None].long()
    if keep_leftover:
        group = torch.where(free, made + free.long().cumsum(dim=1) - 1, group)
    return group


def number_by_appearance(groups: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Renumber groups by where they appear first, so that numbers do not depend on ties.

    Args:
        groups: (B, n) ids in 0..limit-1, -1 for none.
        limit: upper bound of the ids.

    Returns:
        (B, n) renumbered, -1 stays; and (B,) numbers of groups.
    """
    length = groups.shape[1]
    places = torch.arange(length, device=groups.device).expand_as(groups)
    index = torch.where(groups < 0, limit, groups)
    first = groups.new_full((len(groups), limit + 1), length)
    first = first.scatter_reduce(1, index, places, "amin")[:, :limit]
    rank = first.argsort(dim=1, stable=True).argsort(dim=1)
    rank = F.pad(rank, (0, 1), value=-1)
    return rank.gather(1, index), (first < length).sum(dim=1)


def _members(assignment: Tensor, inside: Tensor, count: int) -> Tensor:
    """(B, n, K) bool: which centre each token of the ignored area belongs to."""
    return F.one_hot(assignment.clamp(min=0), count).bool() & inside[..., None]
