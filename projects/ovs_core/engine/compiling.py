"""Compiling the blocks of CLIP's towers (``torch.compile``), which are alike and run often."""

from __future__ import annotations

import open_clip.transformer
import timm.models.convnext
import timm.models.vision_transformer
import torch
from torch.nn.utils.parametrize import ParametrizationList

from ..errors import check_choice
from ..modeling.contract import OpenVocabularyModel

BLOCKS = (
    open_clip.transformer.ResidualAttentionBlock,
    timm.models.vision_transformer.Block,
    timm.models.convnext.ConvNeXtBlock,
)


def check_backend(name: str) -> None:
    """Refuse a ``SOLVER.COMPILE`` that torch does not have.

    Raises:
        UserError: names the nearest.
    """
    if name:
        check_choice("SOLVER.COMPILE", name, torch.compiler.list_backends(exclude_tags=()))


def compile_blocks(model: OpenVocabularyModel, backend: str) -> None:
    """Compile every block of the model's towers when it first runs, in place.

    One program serves all blocks of a kind, and sizes that change become variables of it. Names of
    weights stay. A block that a method runs in its own way is not compiled, nor is what adapts
    weights, which is computed once for each step.

    Args:
        model: whose towers run.
        backend: of ``torch.compile``.
    """
    for module in model.modules():
        if isinstance(module, BLOCKS):
            module.compile(backend=backend)
        if isinstance(module, ParametrizationList):
            run = torch.compiler.disable(module.forward)
            module.forward = run  # type: ignore[method-assign]  # of this module alone
