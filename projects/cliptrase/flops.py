"""What labelling a picture costs, counted in operations (last row of Table 2)."""

from __future__ import annotations

import torch

from ovs_core.modeling.segmenter import Segmenter
from ovs_core.tensor.operations import OperationCounter


def count(model: Segmenter, picture: torch.Tensor) -> float:
    """Count the operations of labelling a picture: products of matrices and convolutions.

    Two for each multiply-add. What is no product, such as a median, an argmax or a search through
    neighbours, has none. Texts are encoded before.

    Args:
        model: with words.
        picture: (3, H, W) RGB in 0..255.
    """
    size = (int(picture.shape[-2]), int(picture.shape[-1]))
    model.text_features()
    with torch.no_grad(), OperationCounter() as counter:
        model.postprocess(model.segment(picture, size))
    return float(counter.flops)
