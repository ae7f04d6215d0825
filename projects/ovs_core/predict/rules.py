"""From scores to labels by a person's rules: smoothed along edges, and unsure pixels left out.

Letters: K words, H x W picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from detectron2.config import CfgNode
from torch import Tensor

from ..errors import UserError
from ..modeling.pamr import pamr
from ..modeling.runtime_rule import RuntimeRule
from ..modeling.scores import LabelScores, Scores
from ..words.vocabulary import Vocabulary
from .tidy import check_min_area

UNKNOWN = "unknown"  # what pixels are called that no word wins
MAX_SCORE_BYTES = 4 * 2**30


@dataclass(frozen=True)
class Rules:
    """What is done to a method's scores and labels.

    Attributes:
        min_area: share of a picture; islands of a word, and things, that are smaller are taken out.
        smooth: steps of PAMR, which averages scores along the colours of the picture; 0 for none.
        unknown: confidence (0..1) below which a pixel is ``UNKNOWN``; 0 for none.
        scale: factor on the scores whose softmax is the confidence.

    Raises:
        UserError: for values that make no sense.
    """

    min_area: float = 0.0
    smooth: int = 0
    unknown: float = 0.0
    scale: float = 0.0

    def __post_init__(self) -> None:
        check_min_area(self.min_area)
        if self.smooth < 0:
            raise UserError(f"smooth {self.smooth}: is a number of steps, 0 or more")
        if not 0 <= self.unknown < 1:
            raise UserError(f"unknown {self.unknown}: is a confidence, from 0 to below 1")
        if self.unknown and not self.scale:
            raise UserError(
                "unknown: the confidence of this config is not calibrated; set "
                "MODEL.OVS.CONFIDENCE_SCALE (tools/calibrate_confidence.py finds it)"
            )

    def __str__(self) -> str:
        """What a hash of results is made of: the rules that are in force."""
        used = {"min_area": self.min_area, "smooth": self.smooth, "unknown": self.unknown}
        lines = [f"\n{name}: {value}" for name, value in used.items() if value]
        return "".join([*lines, f"\nscale: {self.scale}" if self.unknown else ""])

    @property
    def need_scores(self) -> bool:
        """Whether labels are made of the scores of all words."""
        return bool(self.smooth or self.unknown)

    def names(self, vocabulary: Vocabulary) -> list[str]:
        """Give the names that labels stand for: the words, and ``UNKNOWN`` last if it may occur.

        Raises:
            UserError: if it is one of the words.
        """
        names = list(vocabulary.names)
        if not self.unknown:
            return names
        if UNKNOWN in names:
            raise UserError(f"'{UNKNOWN}' is one of the words, and what unsure pixels are called")
        return [*names, UNKNOWN]

    def labels(
        self, scores: Scores, image: np.ndarray, blend: Callable[[Tensor], Tensor] | None = None
    ) -> np.ndarray:
        """Label a picture by its scores.

        Args:
            scores: of K words.
            image: (H, W, 3) uint8 RGB.
            blend: what is done to (K, H, W) scores first.

        Returns:
            (H, W) int32; K where the method is less sure than ``unknown``.

        Raises:
            UserError: if the scores do not fit, or the method has none where they are needed.
        """
        check_size(scores.num_classes, scores.size)
        if self.unknown and isinstance(scores, LabelScores):
            raise UserError(
                "unknown: this method decides per region and has no scores; take one that labels "
                "each pixel for itself"
            )
        maps = scores.full().float()
        if blend is not None:
            maps = blend(maps)
        if self.smooth:
            picture = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
            maps = pamr(picture[None].to(maps), maps[None], steps=self.smooth)[0]
        labels = maps.argmax(0)
        if self.unknown:
            labels[confidence(maps, self.scale) < self.unknown] = len(maps)
        return labels.cpu().numpy().astype(np.int32)


def confidence(maps: Tensor, scale: float) -> Tensor:
    """Give the softmax of the best of (K, H, W) scores at each pixel: (H, W)."""
    best: Tensor = (maps * scale).softmax(0).amax(0)
    return best


def check_size(words: int, size: tuple[int, int]) -> str:
    """Say what the scores of so many words on (H, W) pixels take.

    Raises:
        UserError: if that is more than 4 GiB.
    """
    taken = 4 * words * size[0] * size[1]
    what = f"the scores of {words} words on {size[0]} x {size[1]} pixels"
    if taken > MAX_SCORE_BYTES:
        raise UserError(f"{what} would take {taken / 2**30:.1f} GiB; ask with fewer words")
    return f"{what} take {taken / 2**20:.0f} MiB"


def deciding(cfg: CfgNode) -> str:
    """Write down a config less what says where, not what, is computed; weights are hashed alone."""
    kept = cfg.clone()
    kept.defrost()
    kept.TEST.IMS_PER_BATCH = 1
    del kept.MODEL.OVS["CONFIDENCE_SCALE"]  # stands in the rules, where it decides something
    if RuntimeRule.from_config(cfg).is_plain:
        del kept.MODEL.OVS["RUNTIME"]
    else:
        del kept.MODEL.OVS.RUNTIME["MIN_AGREEMENT"], kept.MODEL.OVS.RUNTIME["FORCE"]
    kept.OUTPUT_DIR = kept.CONFIG_FILE = kept.MODEL.WEIGHTS = kept.MODEL.DEVICE = ""
    return str(kept.dump())
