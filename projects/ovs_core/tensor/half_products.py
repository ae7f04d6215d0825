"""Products of half precision numbers on a CPU, which takes forty times as long for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

HALVES = (torch.bfloat16, torch.float16)
_aten = torch.ops.aten
PRODUCTS = (
    _aten.mm, _aten.addmm, _aten.bmm, _aten.baddbmm, _aten.convolution, _aten.convolution_backward,
)  # fmt: skip


class WideProducts(TorchDispatchMode):
    """Computes products of half precision numbers in float32, and rounds what comes out.

    So do a GPU's tensor cores. Holds for forward and backward passes inside the block.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operator of PyTorch."""
        kwargs = kwargs or {}
        half = _half_type(args) if func.overloadpacket in PRODUCTS else None
        if half is None:
            return func(*args, **kwargs)
        wide = tree_map_only(Tensor, lambda t: t.float() if t.dtype is half else t, (args, kwargs))
        return tree_map_only(Tensor, lambda t: t.to(half), func(*wide[0], **wide[1]))


def _half_type(args: tuple[Any, ...]) -> torch.dtype | None:
    kinds = (one.dtype for one in tree_leaves(args) if isinstance(one, Tensor))
    return next((kind for kind in kinds if kind in HALVES), None)
