"""Small tensors for a device, without a wait.

A plain copy to a GPU first waits until the GPU has done all that was asked of it. One that is
``non_blocking`` does not, and is as safe: memory that is not pinned is copied aside before the call
returns.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def place(values: Any, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Make a tensor of numbers on a device.

    Args:
        values: numbers, nested sequences of them, or an array.
        device: where they go.
        dtype: of the tensor; None for what ``values`` are.
    """
    return torch.as_tensor(values, dtype=dtype).to(device, non_blocking=True)
