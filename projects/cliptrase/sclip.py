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

from ovs_core.evaluation.background import threshold_labels
from ovs_core.modeling.pamr import pamr
from ovs_core.modeling.scores import Scores, Size


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
    """Finished probabilities and the labels that the thresholds left.

    Attributes:
        probabilities: (K, H, W).
        label_map: (H, W).
    """

    probabilities: Tensor
    label_map: Tensor

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        """K."""
        return len(self.probabilities)

    @property
    def size(self) -> Size:  # type: ignore[override]
        """Final (H, W)."""
        return tuple(self.label_map.shape)

    def classes(self, which: slice) -> Tensor:
        """Give a range of classes."""
        return self.probabilities[which]

    def labels(self) -> Tensor:
        """Best class, or 0 where even that is unlikely."""
        return self.label_map


def finish(
    cosines: Tensor, query_class: Sequence[int], rule: SclipRule, picture: Tensor | None = None
) -> tuple[Tensor, ProbabilityScores]:
    """Turn averaged cosines into class probabilities and labels.

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
    labels, probabilities = threshold_labels(
        cosines,
        query_to_class=torch.tensor(query_class, device=cosines.device),
        logit_scale=rule.scale,
        prob_threshold=rule.prob_threshold,
        area_threshold=rule.area_threshold,
    )
    return cosines, ProbabilityScores(probabilities, labels)
