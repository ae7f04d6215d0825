"""A part of a model that another engine than PyTorch runs, as a graph of one size class.

A size class is what one picture looks like: a batch goes through picture by picture, so that it is
the same graph however many pictures come together.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ...errors import UserError, innermost
from ..onnx_files import write_onnx
from ..picture_batches import map_tensors, picture_of
from ..runtime_rule import KEY, RuntimeRule
from ..segmenter import Segmenter
from .engines import Run, open_graph, quantise
from .graph_files import GraphFiles

OPEN = 4  # graphs that are held; each holds the weights of its part


@dataclass(frozen=True)
class Graph:
    """A graph of one size class.

    Attributes:
        run: arrays -> arrays.
        form: what the method gives, with empty tensors.
    """

    run: Run
    form: Any


class GraphPart:
    """A method of a model, run by a graph.

    Args:
        model: whose method it is; not changed.
        name: of the method.
        method: of the model: features of pictures, and tensors of all of them -> features.
        rule: engine and type.
        files: where the graphs are.
    """

    def __init__(
        self,
        model: Segmenter,
        name: str,
        method: Callable[..., Any],
        rule: RuntimeRule,
        files: GraphFiles,
    ) -> None:
        self._model, self._name, self._method = model, name, method
        self._rule, self._files = rule, files
        self._open: OrderedDict[str, Graph] = OrderedDict()

    def __call__(self, first: Any, *shared: Any) -> Any:
        """Compute what the method does, picture by picture.

        Args:
            first: features with the pictures first.
            shared: what all pictures have in common, such as embeddings of words.

        Raises:
            UserError: in training or where gradients are asked for, or if the method has no graph.
        """
        if self._model.training or torch.is_grad_enabled():
            raise UserError(f"{KEY}: {self._rule.engine} gives no gradients; leave the key out")
        count = len(tensors_of(first)[0])
        found = [self._one(picture_of(first, row), *shared) for row in range(count)]
        return found[0] if count == 1 else _joined(found)

    def _one(self, *features: Any) -> Any:
        leaves = tensors_of(features)
        graph = self._graph(features, leaves)
        arrays = graph.run([np.ascontiguousarray(leaf.numpy()) for leaf in leaves])
        return _filled(graph.form, map(torch.from_numpy, arrays))

    def _graph(self, features: Any, leaves: Sequence[Tensor]) -> Graph:
        shapes = f"{self._name} {[(tuple(leaf.shape), str(leaf.dtype)) for leaf in leaves]}"
        if shapes not in self._open:
            # Tensors of the inference mode cannot be traced.
            with torch.inference_mode(False), torch.no_grad(), parametrize.cached():
                features = map_tensors(features, torch.clone)
                given = self._method(*features)  # also fills every cache with real tensors
                path = self._file(shapes, features, len(tensors_of(given)))
            form = map_tensors(given, lambda tensor: tensor.new_empty(0))
            self._open[shapes] = Graph(open_graph(self._rule, path), form)
        self._open.move_to_end(shapes)
        if len(self._open) > OPEN:
            self._open.popitem(last=False)
        return self._open[shapes]

    def _file(self, shapes: str, features: Any, count: int) -> Path:
        """The file of a size class; engines that compute in the same numbers share it."""
        whole = self._files.get(shapes, lambda part: self._write(part, features, count))
        if self._rule.dtype != "int8":
            return whole
        return self._files.get(f"{shapes} int8", lambda part: quantise(whole, part))

    def _write(self, path: Path, features: Any, count: int) -> None:
        """Write the graph of features of one picture, with so many tensors for a result."""
        module, leaves = _PartPath(self._model, self._method, features), tensors_of(features)
        try:
            program = torch.export.export(module, tuple(leaves), strict=False)
        except Exception as error:  # torch.export raises many kinds
            raise UserError(
                f"{KEY}: {type(self._model).__name__} has no graph for {self._rule.engine}: "
                f"torch.export cannot follow it ({innermost(error)}); choose eager or compile"
            ) from error
        write_onnx(
            program,
            path,
            inputs=[f"in{index}" for index in range(len(leaves))],
            outputs=[f"out{index}" for index in range(count)],
            instead="choose eager or compile",
        )


class _PartPath(nn.Module):
    """A method of a model as a function of tensors alone."""

    def __init__(self, model: Segmenter, method: Callable[..., Any], form: Any) -> None:
        super().__init__()
        self.model = model
        self._method, self._form = method, form

    def forward(self, *leaves: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensors_of(self._method(*_filled(self._form, leaves))))


def tensors_of(features: Any) -> list[Tensor]:
    """List the tensors of features, see ``map_tensors``."""
    found: list[Tensor] = []
    map_tensors(features, found.append)
    return found


def _filled(form: Any, tensors: Iterable[Tensor]) -> Any:
    """Put tensors, in the order of ``tensors_of``, in the place of those of features."""
    left = iter(tensors)
    return map_tensors(form, lambda _: next(left))


def _joined(found: Sequence[Any]) -> Any:
    """Put features of single pictures together, the pictures first."""
    parts = zip(*map(tensors_of, found), strict=True)
    return _filled(found[0], [torch.cat(part) for part in parts])
