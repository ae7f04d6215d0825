"""The last steps of the published protocols: refinement along colours, probabilities, thresholds.

SCLIP brought them, and those after it use them with other values. Windows and their averaging are
the suite's ``slide`` protocol. Letters: Q queries (synonyms of all classes), K classes, H x W
pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from detectron2.config import CfgNode
from torch import Tensor

from ovs_core.modeling.pamr import pamr
from ovs_core.modeling.score_thresholds import ScoreThresholds, ThresholdedScores
from ovs_core.modeling.scores import resize, size_of


@dataclass(frozen=True)
class LastSteps:
    """Parameters of the last steps.

    Attributes:
        thresholds: makes labels of averaged cosines.
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


def own_last_steps(node: CfgNode) -> LastSteps | None:
    """Read the last steps of ``MODEL.CLIPTRASE``; None leaves labels to the best cosine.

    ``LAST_STEPS`` serves every method, ``SCLIP.OWN_PROTOCOL`` SCLIP alone.
    """
    own = node.METHOD == "sclip" and node.SCLIP.OWN_PROTOCOL
    if not own and not node.LAST_STEPS.ENABLED:
        return None
    chosen = node.SCLIP if own else node.LAST_STEPS
    return LastSteps(
        thresholds=ScoreThresholds(
            scale=chosen.SCALE,
            probability=chosen.PROB_THD,
            area=None if chosen.AREA_THD < 0 else chosen.AREA_THD,
            renormalize=not own and chosen.RENORMALIZE,
        ),
        pamr_steps=chosen.PAMR_STEPS,
        pamr_dilations=tuple(chosen.PAMR_DILATIONS),
    )
