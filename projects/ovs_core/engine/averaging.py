"""A running mean of the trained weights, which evaluates better than their last values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from ..modeling.checkpoint import trained_state
from ..modeling.contract import OpenVocabularyModel
from ..tensor.sharded import copy_into


class WeightAverage:
    """Exponential moving average of what a model trains.

    After step i (from 0) the mean is ``d mean + (1 - d) weights``, where d is the decay, and less
    in the beginning: ``min(decay, (1 + i) / (10 + i))``. Counts are taken as they are.

    Args:
        model: whose trained weights are averaged, from their present values on.
        decay: d, such as 0.999.
    """

    def __init__(self, model: OpenVocabularyModel, decay: float) -> None:
        self.decay = decay
        self._weights = trained_state(model)  # views of the model's own
        self._mean: dict[str, Tensor] = {}
        self.begin()

    def begin(self) -> None:
        """Take the present weights for the mean."""
        self._mean = {name: tensor.detach().clone() for name, tensor in self._weights.items()}

    @torch.no_grad()
    def update(self, iteration: int) -> None:
        """Take the weights after a step into the mean.

        Args:
            iteration: number of the step, from 0.
        """
        decay = min(self.decay, (1 + iteration) / (10 + iteration))
        for name, mean in self._mean.items():
            weight = self._weights[name]
            if mean.is_floating_point():
                mean.lerp_(weight, 1 - decay)
            else:
                mean.copy_(weight)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have the mean inside the block."""
        trained = self.trained()
        self.put(self._mean)
        try:
            yield
        finally:
            self.put(trained)

    def trained(self) -> dict[str, Tensor]:
        """A copy of the weights that the next step starts from."""
        return {name: tensor.detach().clone() for name, tensor in self._weights.items()}

    @torch.no_grad()
    def put(self, tensors: Mapping[str, Tensor]) -> None:
        """Give the model other weights, under the names of ``trained``."""
        for name, tensor in tensors.items():
            copy_into(self._weights[name], tensor)
