"""From a model with words to a program of the picture alone. Letters: K classes, H x W picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..errors import UserError, innermost
from ..modeling.scores import Scores, Size
from ..modeling.segmenter import Segmenter


class ImagePath(nn.Module):
    """A model with its current words as a function of the picture alone.

    Args:
        model: a segmenter with words.
        size: (H, W) of the pictures.
        with_scores: whether the scores come out beside the labels.
    """

    def __init__(self, model: Segmenter, size: Size, *, with_scores: bool = False) -> None:
        super().__init__()
        self.model, self.size, self.with_scores = model, size, with_scores

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        """(3, H, W) float RGB in 0..255 -> labels (H, W) int64[, scores (K, H, W) float32]."""
        scores = self.model.segment(picture, self.size)
        if self.with_scores:
            maps = scores.full()
            return maps.argmax(0), maps
        # The running maximum of the base class: the faster ways of some scores go where the data
        # leads them, which a fixed program cannot. All give the same labels.
        return (Scores.labels(scores),)


@torch.no_grad()
def trace(model: Segmenter, picture: Tensor, *, with_scores: bool) -> ExportedProgram:
    """Trace the way of a picture; the words become constants, and the text tower is left out.

    Args:
        model: a segmenter with words, used up by this.
        picture: (3, H, W) RGB in 0..255 of the size that the program will take.
        with_scores: whether the scores come out beside the labels.

    Raises:
        UserError: if the model is no fixed program, or does not take this size.
    """
    if obstacle := model.export_obstacle():
        raise UserError(f"{type(model).__name__} cannot be exported: {obstacle}")
    size = (picture.shape[1], picture.shape[2])
    path = ImagePath(model, size, with_scores=with_scores).eval()
    path(picture)  # a wrong size is refused here, and every cache is filled with real tensors
    model.fix_text()
    fix_parameters(model)
    with ReadStorages() as read:
        path(picture)
    drop_unused(path, read)
    return _export(path, picture)


class ReadStorages(TorchDispatchMode):
    """Notes which storages operations read; a trace would tell the same at many times the cost."""

    def __init__(self) -> None:
        super().__init__()
        self.pointers: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run the operation."""
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, Tensor):
                self.pointers.add(value.untyped_storage().data_ptr())
        return func(*args, **(kwargs or {}))


def drop_unused(path: nn.Module, read: ReadStorages) -> None:
    """Take parameters that no operation reads, the text tower mostly, out of what is traced.

    Args:
        path: changed in place.
        read: what a run of it has read.
    """
    for name, parameter in list(path.named_parameters(remove_duplicate=False)):
        if parameter.untyped_storage().data_ptr() not in read.pointers:
            owner, _, attribute = name.rpartition(".")
            setattr(path.get_submodule(owner), attribute, None)


def fix_parameters(model: nn.Module) -> None:
    """Turn parametrized weights into plain ones.

    Args:
        model: changed in place.
    """
    for module in list(model.modules()):
        for name in list(getattr(module, "parametrizations", ())):
            parametrize.remove_parametrizations(module, name, leave_parametrized=True)


def _export(path: ImagePath, picture: Tensor) -> ExportedProgram:
    try:
        return torch.export.export(path, (picture,), strict=False)
    except Exception as error:  # torch.export raises many kinds
        raise UserError(
            f"{type(path.model).__name__} cannot be exported: torch.export cannot follow it "
            f"({innermost(error)})"
        ) from error
