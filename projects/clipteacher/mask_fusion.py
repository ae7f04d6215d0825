"""Fusing similar clusters into potential objects (section 3.3, Algorithm 1).

Algorithm 1 as printed takes the first row instead of the most similar pair, merges a mask twice and
loses masks that are similar to none; ``fuse_centers`` is the repaired reading. All pictures of a
batch go through together.

Letters: B pictures, C channels, n tokens, K centres.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

ROUNDING = 1e-6  # similarities this close are equal: the first pair in reading order goes first


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
