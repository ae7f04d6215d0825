"""Merging counts over processes. Counts are integers, so that the order of adding can't matter."""

from __future__ import annotations

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch import Tensor


def sum_over_processes(*counts: Tensor) -> list[Tensor]:
    """Add the counts of all processes with one ``all_reduce``.

    Args:
        counts: int64 tensors, of the same shapes in every process.

    Returns:
        The sums, on the CPU, in every process.
    """
    if comm.get_world_size() == 1:
        return [count.cpu() for count in counts]
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    flat = torch.cat([count.to(device).flatten() for count in counts])
    dist.all_reduce(flat)
    parts = flat.cpu().split([count.numel() for count in counts])
    return [part.view(count.shape) for part, count in zip(parts, counts, strict=True)]
