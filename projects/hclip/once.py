"""Values that follow from parameters, computed once per training step and once at evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

Value = TypeVar("Value")
_Versions = tuple[tuple[int, int], ...]  # of tensors: how often written to, and where the data is


class StepClock:
    """Tells cached values to which training step they belong.

    The model ticks at the start of every training forward. At 0 no step is under way, and values
    that need gradients are not kept: their graph could be used only once.
    """

    def __init__(self) -> None:
        self.now = 0
        self._last = 0

    def tick(self) -> None:
        """Begin a training step."""
        self._last += 1
        self.now = self._last

    def stop(self) -> None:
        """Leave training."""
        self.now = 0


class Once(Generic[Value]):
    """Keep one value until its parameters change.

    With gradients the value lives for one step of the clock, also through the recomputation of
    gradient checkpointing; without, until a parameter is written to, moved or replaced.

    Args:
        clock: the model's clock.
        parameters: what the value is computed from.
    """

    def __init__(self, clock: StepClock, parameters: Iterable[nn.Parameter]) -> None:
        self.clock = clock
        self.parameters = tuple(parameters)
        self._kept: tuple[tuple[int | None, _Versions], Value] | None = None

    def __call__(self, compute: Callable[[], Value], *inputs: Tensor) -> Value:
        """Give the kept value, or compute and keep it.

        Args:
            compute: gives the value.
            inputs: further tensors that it is computed from.
        """
        with_grad = torch.is_grad_enabled()
        if with_grad and not self.clock.now:
            return compute()
        key = (self.clock.now if with_grad else None, _versions((*self.parameters, *inputs)))
        if self._kept is None or self._kept[0] != key:
            self._kept = (key, compute())
        return self._kept[1]

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles start empty, because graphs cannot be copied."""
        return {**self.__dict__, "_kept": None}


def _versions(parameters: tuple[Tensor, ...]) -> _Versions:
    # In-place writes (optimiser step, load_state_dict) raise the version; .to() moves the data.
    return tuple((p._version, p.data_ptr()) for p in parameters)
