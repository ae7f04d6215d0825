"""Background by score, for training-free methods: unsure pixels and rare classes become class 0.

Letters: Q queries (synonyms of all classes), K classes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .scores import Scores, size_of


class ThresholdedScores(Scores):
    """Finished probabilities and the labels that the thresholds left.

    Args:
        probabilities: (K, H, W).
        label_map: (H, W) int64.
    """

    def __init__(self, probabilities: Tensor, label_map: Tensor) -> None:
        self.probabilities, self.label_map = probabilities, label_map
        self.num_classes, self.size = len(probabilities), size_of(label_map)

    def classes(self, which: slice) -> Tensor:
        """Give a range of classes."""
        return self.probabilities[which]

    def labels(self) -> Tensor:
        """Best class, or 0 where even that is unlikely."""
        return self.label_map


@dataclass(frozen=True)
class ScoreThresholds:
    """When a pixel belongs to the background, class 0, by its scores.

    Attributes:
        scale: factor before the softmax, which runs over all queries.
        probability: pixels whose best class is less likely than this become class 0.
        area: a foreground class that wins at most this share of all foreground pixels is taken out
            first; None keeps all.
        renormalize: whether the scores that are handed on are divided by their sum over the
            classes; the labels are decided before.
    """

    scale: float
    probability: float = 0.0
    area: float | None = None
    renormalize: bool = False

    def __call__(self, logits: Tensor, query_class: Sequence[int]) -> ThresholdedScores:
        """Label pixels.

        Args:
            logits: (Q, H, W) at picture size.
            query_class: class of each query; every class has one.
        """
        queries = torch.tensor(query_class, device=logits.device)
        scores = best_query((logits * self.scale).softmax(0), queries)
        if self.area is not None:
            counts = torch.bincount(scores.argmax(0).flatten(), minlength=len(scores))
            small = counts <= self.area * counts[1:].sum()
            small[0] = False
            scores[small] = 0
        best, labels = scores.max(0)
        labels[best < self.probability] = 0
        if self.renormalize:
            scores = scores / scores.sum(0)
        return ThresholdedScores(scores, labels)


def best_query(scores: Tensor, query_to_class: Tensor) -> Tensor:
    """Score of each class: the best of its queries.

    Args:
        scores: (Q, H, W).
        query_to_class: (Q,) class index of each query; every class has one.

    Returns:
        (K, H, W).
    """
    num_classes = int(query_to_class.max()) + 1
    if num_classes == len(scores):
        return scores[query_to_class.argsort()]
    return torch.stack([scores[query_to_class == c].amax(0) for c in range(num_classes)])
