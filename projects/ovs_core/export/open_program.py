"""From a model to a program of pictures, class embeddings and a size.

Letters: B pictures, K words, H x W final picture, H' x W' the picture that is given.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ..errors import UserError, innermost
from ..modeling.open_words import OpenWords
from ..modeling.scores import Size
from ..modeling.segmenter import Segmenter
from .program import ReadStorages, drop_unused, fix_parameters

MOST_WORDS, MOST_PICTURES, LONGEST_SIDE = 2048, 1024, 16384
SHORTEST_SIDE = 32  # of a picture: two patches, or one cell at the coarsest stride
EXAMPLES = 3, 5  # pictures and words of the trace; sizes must not repeat, so that none looks fixed


class OpenPath(nn.Module):
    """A model as a function of pictures, words and a size.

    Args:
        model: a segmenter.
    """

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, pictures: Tensor, embeddings: Tensor, size: Tensor, seen: Tensor | None = None
    ) -> Tensor:
        """Label pictures.

        Args:
            pictures: (B, 3, H', W') float32 RGB in 0..255.
            embeddings: (K, ...) float32, as ``Segmenter.open_embeddings`` gives them.
            size: (2,) int64, the (H, W) of the labels.
            seen: (K,) bool, whether training had the word, of a method that asks.

        Returns:
            (B, H, W) int64.
        """
        height, width = size.tolist()
        for side in (height, width):
            torch._check(side >= 1)
            torch._check(side <= LONGEST_SIDE)
        self.model.open_words = OpenWords(embeddings, seen)
        try:
            return self.model.open_labels(pictures, (height, width))
        finally:
            self.model.open_words = None


def open_inputs(model: Segmenter, pictures: Tensor, size: Size) -> dict[str, Tensor]:
    """What ``OpenPath`` takes for the current words of a model, by name.

    Args:
        model: with words.
        pictures: (B, 3, H', W') RGB in 0..255.
        size: (H, W) of the labels.
    """
    inputs = {
        "pictures": pictures.float(),
        "embeddings": model.open_embeddings().detach(),
        "size": torch.tensor(size),
    }
    if (seen := model.open_seen()) is not None:
        inputs["seen"] = seen
    return inputs


@torch.no_grad()
def trace_open(model: Segmenter, size: Size | None) -> ExportedProgram:
    """Trace a model; neither its words nor its text tower are in the program.

    Args:
        model: a segmenter with several words, used up by this.
        size: (H', W') of the pictures; None for pictures of any size.

    Raises:
        UserError: if the model is no such program, or only one for pictures of one size.
    """
    name = type(model).__name__
    if obstacle := model.open_obstacle():
        raise UserError(f"{name} has no program of any words: {obstacle}")
    path = OpenPath(model).eval()
    noise = torch.rand((EXAMPLES[0], 3, *(size or (112, 144)))) * 255
    inputs = open_inputs(model, noise.to(model.device), (104, 136))
    with ReadStorages() as read:  # of both runs: what the first one keeps for its size is read anew
        path(**inputs)  # what is refused is refused here
        fix_parameters(model)
        path(**inputs)
    drop_unused(path, read)
    try:
        return _export(path, inputs, size)
    except Exception as error:  # torch.export raises many kinds
        mend = "" if size else "; it may have one for pictures of one size: give --size HxW"
        raise UserError(
            f"{name} has no program of any words that torch.export can follow "
            f"({innermost(error)}){mend}"
        ) from error


def _export(path: OpenPath, inputs: dict[str, Tensor], size: Size | None) -> ExportedProgram:
    words = Dim("words", min=1, max=MOST_WORDS)
    pictures: dict[int, Any] = {0: Dim("pictures", min=1, max=MOST_PICTURES)}
    if size is None:
        for axis, side in ((2, "height"), (3, "width")):
            pictures[axis] = Dim(side, min=SHORTEST_SIDE, max=LONGEST_SIDE)
    shapes = {"pictures": pictures, "embeddings": {0: words}, "size": None, "seen": {0: words}}
    shapes = {name: shapes[name] for name in inputs}
    return torch.export.export(path, (), inputs, dynamic_shapes=shapes, strict=False)
