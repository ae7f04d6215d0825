"""Queries to begin a training from, such as those that CLIPtrase makes of its regions.

Letters: Q queries, D their width.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...clip.weight_files import read_weight_file
from ...errors import UserError

NAMES = ("query_embed", "side_adapter_network.query_embed")


@dataclass(frozen=True)
class QueryInit:
    """Where the queries of a training begin.

    Attributes:
        path: ``.safetensors``, or a state dict that torch saved; "" for the ordinary start.
        key: config key that names it.
        sizes: config keys of Q and D, for messages.
        maker: how a person comes by such a file, for messages.
    """

    path: str
    key: str
    sizes: str
    maker: str = "name another"

    def read(self, shape: torch.Size) -> Tensor:
        """Read ``query_embed`` of the file.

        Args:
            shape: (Q, D) or (1, Q, D) that the model needs.

        Raises:
            UserError: if there is no such file, it has no queries, or they have another shape.
        """
        if not Path(self.path).is_file():
            raise UserError(f"{self.key}: no such file as {self.path}; {self.maker}")
        tensors = read_weight_file(self.path).tensors
        found = next((tensors[name] for name in NAMES if name in tensors), None)
        if found is None:
            raise UserError(
                f"{self.key}: {self.path} holds no {NAMES[0]}, only "
                f"{', '.join(sorted(tensors)[:3])}"
            )
        needed = torch.Size((1, *shape[-2:]))
        if found.shape != needed or not found.is_floating_point() or not found.isfinite().all():
            raise UserError(
                f"{self.key}: query_embed of {self.path} is {tuple(found.shape)} of {found.dtype}, "
                f"but the model needs {tuple(needed)} finite numbers (1, {self.sizes})"
            )
        return found.float().view(shape)
