"""How a prediction over words becomes a prediction with a background class.

Q text queries (several may stand for one class), C classes, H x W pixels.

* ``none``: no background; it is ignored in the ground truth.
* ``last_class``: classes 0..C-2, then any number of background words; all of these become C-1.
* ``first_class``: class 0 is the background; it may have many words, the best of which counts.
* threshold (SCLIP): as ``first_class``, and unsure pixels become class 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import check_choice

RULES = ("none", "last_class", "first_class")


def check_rule(rule: str | None) -> str:
    """Give the rule's name, ``none`` for None.

    Raises:
        UserError: if there is no such rule.
    """
    if rule is None:
        return "none"
    check_choice("background_rule", rule, RULES)
    return rule


def fold_last_class(labels: Tensor, background: int) -> Tensor:
    """Turn every label from ``background`` on into ``background``.

    Args:
        labels: (H, W) integers.
        background: index of the background class, the last one.

    Returns:
        (H, W) integers.
    """
    return labels.clamp(max=background)


def best_query(scores: Tensor, query_to_class: Tensor) -> Tensor:
    """Score of each class: the best of its queries.

    Args:
        scores: (Q, H, W).
        query_to_class: (Q,) class index of each query; every class has one.

    Returns:
        (C, H, W).
    """
    num_classes = int(query_to_class.max()) + 1
    if num_classes == len(scores):
        return scores[query_to_class.argsort()]
    return torch.stack([scores[query_to_class == c].amax(0) for c in range(num_classes)])


def threshold_labels(
    logits: Tensor,
    *,
    query_to_class: Tensor,
    logit_scale: float,
    prob_threshold: float,
    area_threshold: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Label pixels; those without a convincing class become background, class 0 (SCLIP).

    Args:
        logits: (Q, H, W) cosines at picture size.
        query_to_class: (Q,) class index of each query; class 0 is the background.
        logit_scale: factor before the softmax (VOC-21: 65, Context-60 and COCO-Object: 50).
        prob_threshold: pixels whose best class score is below this become class 0.
        area_threshold: a foreground class that wins at most this share of all foreground pixels is
            dropped first; None keeps all.

    Returns:
        (H, W) int64 labels and the (C, H, W) class scores that decided.
    """
    # The softmax runs over all queries, before synonyms are merged.
    scores = best_query((logits * logit_scale).softmax(0), query_to_class)
    if area_threshold is not None:
        counts = torch.bincount(scores.argmax(0).flatten(), minlength=len(scores))
        small = counts <= area_threshold * counts[1:].sum()
        small[0] = False
        scores[small] = 0
    best, labels = scores.max(0)
    labels[best < prob_threshold] = 0
    return labels, scores
