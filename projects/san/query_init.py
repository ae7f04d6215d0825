"""Queries to begin a training from, such as those that CLIPtrase makes of its regions."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ovs_core.clip.weight_files import read_weight_file
from ovs_core.errors import UserError

KEY = "MODEL.SAN.QUERY_INIT"
NAMES = ("query_embed", "side_adapter_network.query_embed")


def read_queries(path: str | Path, shape: torch.Size) -> Tensor:
    """Read ``query_embed`` of a file.

    Args:
        path: ``.safetensors``, or a state dict that torch saved.
        shape: (1, Q, D) that the model needs.

    Raises:
        UserError: if there is no such file, it has no queries, or they have another shape.
    """
    if not Path(path).is_file():
        raise UserError(f"{KEY}: no such file as {path}; `ovsuite analyse cliptrase` makes one")
    tensors = read_weight_file(path).tensors
    found = next((tensors[name] for name in NAMES if name in tensors), None)
    if found is None:
        raise UserError(f"{KEY}: {path} holds no {NAMES[0]}, only {', '.join(sorted(tensors)[:3])}")
    if found.shape != shape or not found.is_floating_point() or not found.isfinite().all():
        raise UserError(
            f"{KEY}: query_embed of {path} is {tuple(found.shape)} of {found.dtype}, but the model "
            f"needs {tuple(shape)} finite numbers (1, NUM_QUERIES, WIDTH of MODEL.SIDE_ADAPTER)"
        )
    return found.float()
