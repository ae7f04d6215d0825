"""Bringing processes together: the same start, and gradients summed over all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch import Tensor, nn

from ..tensor.sharded import is_sharded

BUCKET_BYTES = 64 * 2**20


@torch.no_grad()
def share_start(model: nn.Module) -> None:
    """Give the model of the first process to all of them."""
    if comm.get_world_size() > 1:
        for tensor in (*model.parameters(), *model.buffers()):
            dist.broadcast(tensor.detach(), 0)


@torch.no_grad()
def sum_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Sum gradients over all processes.

    A parameter that took part in no process keeps no gradient, as in a training of one process, so
    that the optimiser leaves it alone; one that took part in some gets the sum of theirs.

    Args:
        parameters: trained parameters, in the same order everywhere. Those whose rows are shared
            out have their sums already.
    """
    parameters = [p for p in parameters if not is_sharded(p)]
    if comm.get_world_size() == 1 or not parameters:
        return
    used = torch.tensor([p.grad is not None for p in parameters], dtype=torch.uint8)
    used = used.to(parameters[0].device)
    dist.all_reduce(used, dist.ReduceOp.MAX)
    chosen = [p for p, wanted in zip(parameters, used.tolist(), strict=True) if wanted]
    for parameter in chosen:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for bucket in _buckets([p.grad for p in chosen if p.grad is not None]):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        dist.all_reduce(flat)
        totals = flat.split([gradient.numel() for gradient in bucket])
        for gradient, total in zip(bucket, totals, strict=True):
            gradient.copy_(total.view_as(gradient))


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Cut tensors into runs of one type and bounded size, so that few messages are sent."""
    bucket: list[Tensor] = []
    held = 0
    for tensor in tensors:
        if bucket and (held > BUCKET_BYTES or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket, held = [], 0
        bucket.append(tensor)
        held += tensor.numel() * tensor.element_size()
    if bucket:
        yield bucket
