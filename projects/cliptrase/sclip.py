"""The last steps of SCLIP's own protocol: probabilities over all queries, synonyms, thresholds.

Windows and their averaging are the suite's ``slide`` protocol. Letters: Q queries (synonyms of all
classes), K classes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ovs_core.modeling.scores import Scores, Size

from .pamr import pamr


@dataclass(frozen=True)
class SclipRule:
    """Parameters of the last steps.

    Attributes:
        scale: factor on the averaged cosines (40; Context-60 and COCO-Object 50; VOC-21 65).
        prob_threshold: pixels whose best probability is below this become class 0.
        area_threshold: a foreground class that wins at most this share of all foreground pixels is
            taken out; None for off (VOC-21: 0.1).
        pamr_steps: steps of PAMR before the probabilities; 0 for off.
        pamr_dilations: its neighbour distances.
    """

    scale: float = 40.0
    prob_threshold: float = 0.0
    area_threshold: float | None = None
    pamr_steps: int = 0
    pamr_dilations: tuple[int, ...] = (8, 16)


@dataclass
class ProbabilityScores(Scores):
    """Finished probabilities with the threshold that turns unsure pixels into class 0.

    Attributes:
        probabilities: (K, H, W).
        threshold: see ``SclipRule.prob_threshold``.
    """

    probabilities: Tensor
    threshold: float = 0.0

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        """K."""
        return len(self.probabilities)

    @property
    def size(self) -> Size:  # type: ignore[override]
        """Final (H, W)."""
        return tuple(self.probabilities.shape[-2:])

    def classes(self, which: slice) -> Tensor:
        """Give a range of classes."""
        return self.probabilities[which]

    def labels(self) -> Tensor:
        """Best class, or 0 where even that is unlikely."""
        best, labels = self.probabilities.max(dim=0)
        return labels.masked_fill(best < self.threshold, 0)


def finish(
    cosines: Tensor, query_class: Sequence[int], rule: SclipRule, picture: Tensor | None = None
) -> tuple[Tensor, ProbabilityScores]:
    """Turn averaged cosines into class probabilities.

    Args:
        cosines: (Q, H, W) at the original size.
        query_class: class of each query.
        rule: parameters.
        picture: (3, H', W') normalised picture, for PAMR.

    Returns:
        (Q, H, W) cosines after PAMR, and the (K, H, W) scores.
    """
    if rule.pamr_steps:
        if picture is None:
            raise ValueError("PAMR needs the picture")
        image = F.interpolate(picture[None], size=tuple(cosines.shape[-2:]), mode="bilinear")
        cosines = pamr(image, cosines[None], steps=rule.pamr_steps, dilations=rule.pamr_dilations)[
            0
        ]
    probabilities = torch.softmax(cosines * rule.scale, dim=0)
    count = max(query_class) + 1
    if count != len(query_class):
        index = torch.tensor(query_class, device=cosines.device).view(-1, 1, 1)
        probabilities = probabilities.new_zeros(count, *cosines.shape[1:]).scatter_reduce(
            0, index.expand_as(probabilities), probabilities, "amax", include_self=False
        )
    if rule.area_threshold is not None:
        probabilities = drop_small(probabilities, rule.area_threshold)
    return cosines, ProbabilityScores(probabilities, rule.prob_threshold)


def drop_small(probabilities: Tensor, share: float) -> Tensor:
    """Set foreground classes that win too few pixels to 0; class 0 is the background.

    Args:
        probabilities: (K, H, W).
        share: smallest share of all foreground pixels that is kept, exclusive.

    Returns:
        (K, H, W).
    """
    won = torch.bincount(probabilities.argmax(dim=0).flatten(), minlength=len(probabilities))
    small = won <= share * won[1:].sum()
    small[0] = False
    return probabilities.masked_fill(small.view(-1, 1, 1), 0)
