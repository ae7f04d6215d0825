"""From masks to vectors and from vectors to class scores (FC-CLIP).

Letters: B pictures, Q masks, C channels, E joint width, S texts, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ...tensor.placing import place
from ..scores import Size, size_of


def fit_masks(masks: Tensor, size: Size) -> Tensor:
    """Resize (B, Q, H, W) mask logits bilinearly to (h, w); a fitting size is left untouched."""
    if size_of(masks) == size:
        return masks
    return F.interpolate(masks, size=size, mode="bilinear", align_corners=False)


def mask_pool(features: Tensor, masks: Tensor) -> Tensor:
    """Average features inside masks; an empty mask gives the zero vector.

    Args:
        features: (B, C, h, w).
        masks: (B, Q, H, W) logits, binarised at 0 after the resize; no gradient reaches them.

    Returns:
        (B, Q, C).
    """
    with torch.no_grad():
        inside = (fit_masks(masks.detach(), size_of(features)) > 0).to(features.dtype)
        inside = inside.flatten(2)
        # Counted in float32: half precision cannot count beyond a few hundred cells. Released code
        # adds 1e-8, which is the same here and is lost in ONNX's optimisation.
        count = inside.sum(-1, keepdim=True, dtype=torch.float32).clamp(min=1)
        share = (inside / count).to(features.dtype)
    return share @ features.flatten(2).transpose(1, 2)


def class_scores(
    vectors: Tensor, texts: Tensor, class_index: Sequence[int], logit_scale: Tensor
) -> Tensor:
    """Score vectors against texts and let each class take its best synonym.

    Args:
        vectors: (B, Q, E), normalised here.
        texts: (S + 1, E) or (B, S + 1, E), used as they are; the last row is void.
        class_index: class of each of the S texts, every class 0 .. K-1 at least once; empty if each
            text is a class.
        logit_scale: scalar; its exponential is capped at 100.

    Returns:
        (B, Q, K + 1), void last.
    """
    scale = logit_scale.exp().clamp(max=100.0)
    # In float32: of scores up to 100 bfloat16 keeps no half.
    with torch.autocast(vectors.device.type, enabled=False):
        units = F.normalize(vectors.to(texts.dtype), dim=-1)
        scores = scale * units @ texts.transpose(-1, -2)
    if not class_index:
        return scores
    classes = max(class_index) + 1
    if classes == len(class_index):
        return scores
    index = place([*class_index, classes], scores.device).expand_as(scores)
    best = scores.new_empty(*scores.shape[:-1], classes + 1)
    return best.scatter_reduce(-1, index, scores, reduce="amax", include_self=False)
