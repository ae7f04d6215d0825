"""A part of a model that PyTorch runs, compiled or in fewer bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...errors import UserError, innermost
from ..picture_batches import map_tensors
from ..runtime_rule import KEY, TORCH_DTYPES, RuntimeRule
from ..segmenter import Segmenter

BACKEND = "inductor"  # of torch.compile


class TorchPart:
    """A method of a model, run by PyTorch.

    Products and the like are computed in the rule's type, what needs more digits (norms, softmax)
    in float32, as ``torch.autocast`` knows them; results are float32.

    Args:
        model: whose method it is; not changed.
        method: of the model: features -> features.
        rule: engine and type.
    """

    def __init__(self, model: Segmenter, method: Callable[..., Any], rule: RuntimeRule) -> None:
        self._model, self._rule = model, rule
        self._dtype = TORCH_DTYPES[rule.dtype]
        is_compiled = rule.engine == "compile"
        self._run = torch.compile(method, backend=BACKEND) if is_compiled else method

    def __call__(self, *features: Any) -> Any:
        """Compute what the method does.

        Raises:
            UserError: in training, or if ``torch.compile`` cannot do it here.
        """
        if self._model.training:
            raise UserError(f"{KEY}: {self._rule} is no way to train; leave the key out")
        kind, lower = self._model.device.type, self._dtype != torch.float32
        try:
            with torch.autocast(kind, self._dtype, enabled=lower):
                return map_tensors(self._run(*features), _widened)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise UserError(
                f"{KEY}: torch.compile cannot compile this method here "
                f"({innermost(error)}); choose another ENGINE"
            ) from error


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
