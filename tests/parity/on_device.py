"""Running the runners, which know the CPU alone, on another device.

What they make from arrays goes to the device; where an operation meets tensors of two devices,
those of the CPU are moved; and what becomes an array comes back. Runners hold references of the
CPU against it, so this is for the numbers of a device's kernels: mixed devices of the product are
hidden by it, and shown by ``tests/devices``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

CPU = torch.device("cpu")
ARRAYS = (Tensor.numpy, Tensor.__array__)


@contextmanager
def on_device(name: str) -> Iterator[None]:
    """Let runners inside the block compute on a device, in float32 without TF32.

    Args:
        name: as ``cuda``; ``cpu`` changes nothing.
    """
    device = torch.device(name)
    if device.type == "cpu":
        yield
        return
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    from_numpy = torch.from_numpy
    with (
        mock.patch.object(torch, "from_numpy", lambda array: from_numpy(array).to(device)),
        device,
        _Meeting(device),
    ):
        yield


class _Meeting(TorchFunctionMode):
    """Moves tensors of the CPU to those of a device that they meet in an operation."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in ARRAYS:
            return func(args[0].detach().cpu(), *args[1:], **kwargs)
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        if any(one.device != CPU for one in tensors) and func is not Tensor.copy_:
            args, kwargs = tree_map_only(Tensor, self._moved, (args, kwargs))
        return func(*args, **kwargs)

    def _moved(self, one: Tensor) -> Tensor:
        return one.to(self.device) if one.device == CPU and one.ndim else one
