"""Labels of scored masks, in a program whose words come when it runs.

Letters: B pictures, Q masks, K classes, h x w mask grid, H x W final picture, r rows of a strip.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..open_words import strip_labels
from ..scores import Size


def open_mask_labels(
    class_logits: Tensor,
    masks: Tensor,
    size: Size,
    *,
    canvas: Size,
    valid: Size,
    logits_first: bool,
) -> Tensor:
    """Labels of scored masks of several pictures, as a program of any words gives them.

    Args:
        class_logits: (B, Q, K + 1) logits or log-probabilities, void last.
        masks: (B, Q, h, w) mask logits on the padded input.
        size: (H, W), numbers or symbols.
        canvas: padded (Hp, Wp).
        valid: (height, width) of the pictures inside.
        logits_first: see ``MaskScores``.

    Returns:
        (B, H, W) int64.
    """
    weights = class_logits.float().softmax(-1)[..., :-1]

    def classes(maps: Tensor) -> Tensor:
        soft = maps.sigmoid() if logits_first else maps
        return torch.einsum("bqk,bqrw->bkrw", weights, soft)

    between = torch.Tensor.float if logits_first else torch.Tensor.sigmoid
    return strip_labels(
        masks.float(), size, canvas=canvas, valid=valid, between=between, compare=classes
    )
