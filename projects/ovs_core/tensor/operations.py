"""Counting floating-point operations of whatever runs, two per multiply-add."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import (
    flop_registry,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)


def _attention(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(q.shape, k.shape, v.shape))


def _attention_backward(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(grad.shape, q.shape, k.shape, v.shape))


# torch's own counts know nothing of the CPU's fused attention.
COUNTS = {
    **flop_registry,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


class OperationCounter(TorchDispatchMode):
    """Counts what runs inside, backward passes and what they compute again too.

    torch's ``FlopCounterMode`` also follows modules, which not every model's training step bears.
    torch's fused layers of transformers, which nothing counts, are taken apart meanwhile.

    Attributes:
        flops: products, convolutions and attention so far; the rest is small beside them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __enter__(self) -> OperationCounter:
        """Begin to count."""
        self._fused = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Count no more."""
        super().__exit__(*error)
        torch.backends.mha.set_fastpath_enabled(self._fused)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operator and add its operations."""
        result = func(*args, **(kwargs or {}))
        count = COUNTS.get(func.overloadpacket)
        if count is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=result)
        return result
