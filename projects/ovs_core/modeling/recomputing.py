"""Keeping little for the backward pass: what is cheap is computed again there.

Most of what autograd would keep of a network is cheap to compute: normalisations, activations,
residuals. What costs time are products, and of these the results are kept where they are small.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

PRODUCTS = ("convolution", "mm", "addmm", "bmm", "baddbmm")
ATTENTION = "_scaled_dot_product"  # in front of the names of its kernels


def recomputed(run: Callable[[Tensor], Tensor], x: Tensor, *, all_of_it: bool = False) -> Tensor:
    """Run a part of a network that draws no random numbers, and keep little of it.

    Args:
        run: the part.
        x: its input, which is kept.
        all_of_it: compute products again too: least memory, one more forward pass.

    Returns:
        ``run(x)``.
    """
    if not torch.is_grad_enabled():
        return run(x)
    contexts: dict[str, Any] = {}
    if not all_of_it:
        contexts["context_fn"] = partial(create_selective_checkpoint_contexts, _policy)
    result: Tensor = checkpoint(
        partial(_repeatable, run), x, use_reentrant=False, preserve_rng_state=False, **contexts
    )
    return result


def _repeatable(run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Run with no weights that autocast has cast before: the second time it would have none."""
    kind = x.device.type
    if not torch.is_autocast_enabled(kind):
        return run(x)
    with torch.autocast(kind, torch.get_autocast_dtype(kind), cache_enabled=False):
        return run(x)


def _policy(context: Any, operator: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    """Keep attention, and products that are not larger than what they are computed from."""
    name = operator.overloadpacket.__name__
    if name.startswith(ATTENTION) or (name in PRODUCTS and _small(name, args)):
        return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE


def _small(name: str, args: tuple[Any, ...]) -> bool:
    if name == "convolution":
        x, weight = args[:2]
        return bool(weight.shape[0] <= x.shape[1])
    a, b = args[-2:]
    return bool(b.shape[-1] <= a.shape[-1])
