"""Batch norms over a stated number of pictures, however a step is split.

Letters: B pictures, C channels, h x w cells.
"""

from __future__ import annotations

import torch
from detectron2.layers import NaiveSyncBatchNorm
from detectron2.utils import comm
from fvcore.nn.distributed import differentiable_all_reduce
from torch import Tensor, nn


class GroupedBatchNorm(nn.BatchNorm2d):
    """Batch norm in which so many neighbouring pictures share their mean and variance.

    Attributes:
        pictures: of a group.
    """

    pictures: int = 1

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape; in training by groups of pictures."""
        if not self.training:
            return super().forward(x)
        return torch.cat([super(GroupedBatchNorm, self).forward(g) for g in x.split(self.pictures)])


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm over all processes on any device; torch has one for accelerators only."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape; in training by the pictures of all processes."""
        if not self.training or comm.get_world_size() == 1:
            return super().forward(x)
        count = x[:, 0].numel() * comm.get_world_size()
        mean = differentiable_all_reduce(x.sum(dim=(0, 2, 3))) / count
        centred = x - mean[:, None, None]
        variance = differentiable_all_reduce(centred.square().sum(dim=(0, 2, 3))) / count
        self._keep(mean.detach(), variance.detach() * count / max(count - 1, 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        shared: Tensor = centred * scale[:, None, None] + self.bias[:, None, None]
        return shared

    def _keep(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            return
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


def group_batch_norms(network: nn.Module, pictures: int) -> None:
    """Let the batch norms of a network be over groups of so many pictures; in place."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = GroupedBatchNorm
            assert isinstance(module, GroupedBatchNorm)
            module.pictures = pictures


def share_batch_norms(network: nn.Module) -> None:
    """Let the batch norms of a network be over all processes; in place."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SharedBatchNorm


def split_batch_norms(network: nn.Module, *, processes: int, parts: int) -> list[str]:
    """Name the batch norms whose result would depend on how a step is split.

    Args:
        network: in training mode; norms that are not in training are fixed.
        processes: that share a step.
        parts: accumulated batches of each process.
    """
    shared = (SharedBatchNorm, nn.SyncBatchNorm, NaiveSyncBatchNorm)
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        and module.training
        and not isinstance(module, GroupedBatchNorm)
        and (parts > 1 or (processes > 1 and not isinstance(module, shared)))
    ]
