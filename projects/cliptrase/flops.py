"""What labelling a picture costs, counted in operations (last row of Table 2)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ovs_core.modeling.segmenter import Segmenter


def count(model: Segmenter, picture: torch.Tensor) -> float:
    """Count the operations of labelling a picture: products of matrices and convolutions.

    PyTorch's counter; two for each multiply-add. What is no product, such as a median, an argmax
    or a search through neighbours, has none. Texts are encoded before.

    Args:
        model: with words.
        picture: (3, H, W) RGB in 0..255.
    """
    size = (int(picture.shape[-2]), int(picture.shape[-1]))
    model.text_features()
    with torch.no_grad(), _plain_attention(), FlopCounterMode(display=False) as counter:
        model.postprocess(model.segment(picture, size))
    return float(counter.get_total_flops())


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Let attention run as the products that it is made of: fused kernels are not counted."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
