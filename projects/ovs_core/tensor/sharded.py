"""Tensors whose rows are shared out over the processes of a training (``DTensor``)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map_only


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process has only its share of a tensor."""
    return isinstance(tensor, DTensor)


def own_part(tensor: Tensor) -> Tensor:
    """What this process has of a tensor; writing to it changes the tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(content: Any) -> Any:
    """Put tensors together; all processes must ask at once.

    Args:
        content: a tensor, or lists and maps that hold some.

    Returns:
        The same with no tensor shared out.
    """
    return tree_map_only(DTensor, lambda tensor: tensor.full_tensor(), content)


def shared_as(tensor: Any, place: Tensor) -> Any:
    """Share a whole tensor out as another one of its shape is; all processes must ask at once.

    Args:
        tensor: the same in all processes; what is no tensor of that shape is given back.
        place: maybe shared out.
    """
    if not isinstance(place, DTensor) or isinstance(tensor, DTensor):
        return tensor
    if not isinstance(tensor, Tensor) or tensor.shape != place.shape:
        return tensor
    whole_tensor = tensor.detach().to(place.device, place.dtype)
    return distribute_tensor(whole_tensor, place.device_mesh, place.placements)


@torch.no_grad()
def copy_into(place: Tensor, tensor: Tensor) -> None:
    """Write a tensor, whole or shared out alike, into another of its shape."""
    place.copy_(shared_as(tensor, place))
