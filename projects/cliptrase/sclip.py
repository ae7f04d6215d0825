"""The last steps of SCLIP's own protocol: refinement along colours, probabilities, thresholds.

Windows and their averaging are the suite's ``slide`` protocol. Letters: Q queries (synonyms of all
classes), K classes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ovs_core.modeling.pamr import pamr
from ovs_core.modeling.score_thresholds import ScoreThresholds, ThresholdedScores
from ovs_core.modeling.scores import resize, size_of


@dataclass(frozen=True)
class SclipRule:
    """Parameters of the last steps.

    Attributes:
        thresholds: makes labels of averaged cosines; its scale is 40 (Context-60 and COCO-Object
            50, VOC-21 65), its area for VOC-21 0.1.
        pamr_steps: steps of PAMR before the probabilities; 0 for off.
        pamr_dilations: its neighbour distances.
    """

    thresholds: ScoreThresholds = ScoreThresholds(scale=40.0)
    pamr_steps: int = 0
    pamr_dilations: tuple[int, ...] = (8, 16)

    def refine(self, cosines: Tensor, picture: Tensor) -> Tensor:
        """Refine averaged cosines along the colours of the picture.

        Args:
            cosines: (Q, H, W).
            picture: (3, H', W') normalised.

        Returns:
            (Q, H, W).
        """
        if not self.pamr_steps:
            return cosines
        image = resize(picture[None], size_of(cosines))
        refined = pamr(image, cosines[None], steps=self.pamr_steps, dilations=self.pamr_dilations)
        return refined[0]

    def finish(
        self, cosines: Tensor, query_class: Sequence[int], picture: Tensor
    ) -> ThresholdedScores:
        """Turn averaged cosines into class probabilities and labels.

        Args:
            cosines: (Q, H, W) at the original size.
            query_class: class of each query.
            picture: (3, H', W') normalised.
        """
        return self.thresholds(self.refine(cosines, picture), query_class)
