"""The meta-architecture: CLIPtrase and the training-free methods it is compared with.

Equations 1-7 in order: tower (``tower.py``), patch logits, regions (``regions.py``), one label per
region (``voting.py``). Letters: B pictures, N = h * w patches, K classes with background words, D
joint width, H x W final picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor
from torch.nn import functional as F

from ovs_core.errors import UserError, nearest
from ovs_core.modeling.scores import LabelScores, Scores, Size
from ovs_core.modeling.segmenter import Segmenter

from .build import method_arguments
from .regions import RegionRule, Regions, find_regions
from .tower import Dense, RecoveryTower, TowerRule
from .views import Frame, View
from .voting import RegionScores, majority_vote, mean_logits

VOTES = ("majority", "mean_logits", "none")


@dataclass(frozen=True)
class Encoded:
    """A picture before any word.

    Attributes:
        dense: tokens and correlation, B = 1.
        frame: where the grid lies on the picture.
        regions: clusters and maps; None for methods without.
    """

    dense: Dense
    frame: Frame
    regions: Regions | None


@META_ARCH_REGISTRY.register()
class CLIPtrase(Segmenter):
    """Training-free segmentation with a frozen CLIP.

    Args:
        tower: how the image tower is rewired.
        view: how a picture is brought to the tower.
        regions: how regions are found; None labels every pixel for itself.
        vote: ``majority`` of labels, ``mean_logits``, or ``none``.
        normalize_features: whether tokens are brought to unit length.
        cls_product: whether each class map is multiplied by the picture's own logit of that class.
        logit_scale: factor on cosines; None for CLIP's stored one.
        segmenter: arguments of ``Segmenter``.
    """

    @configurable
    def __init__(
        self,
        *,
        tower: TowerRule | None = None,
        view: View | None = None,
        regions: RegionRule | None = None,
        vote: str = "majority",
        normalize_features: bool = True,
        cls_product: bool = False,
        logit_scale: float | None = None,
        **segmenter: Any,
    ) -> None:
        super().__init__(**segmenter)
        if vote not in VOTES:
            raise UserError(
                f"MODEL.CLIPTRASE.VOTE: '{vote}' is unknown.{nearest(vote, VOTES)} "
                f"Known: {', '.join(VOTES)}"
            )
        self.tower = RecoveryTower(self.clip.visual, tower or TowerRule())
        self.view = view or View()
        self.region_rule = regions
        self.vote = vote
        self.normalize_features = normalize_features
        self.cls_product = cls_product
        self.logit_scale = self.clip.logit_scale if logit_scale is None else logit_scale

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read ``MODEL.CLIPTRASE`` and the shared keys."""
        return method_arguments(cfg)

    def encode(self, images: Tensor) -> Dense:
        """(B, 3, h', w') normalised pictures -> tokens and correlation."""
        return self.tower(images)

    def score(self, features: Dense) -> Tensor:
        """Compare patches with the words: (B, K, h, w) logits."""
        tokens = features.tokens
        if self.normalize_features:
            tokens = F.normalize(tokens, dim=-1)
        logits = tokens @ (self.text_features().T * self.logit_scale)  # (B, 1 + N, K)
        patches = logits[:, 1:]
        if self.cls_product:
            patches = patches * logits[:, :1]
        return patches.transpose(1, 2).unflatten(2, features.grid)

    def encode_picture(self, picture: Tensor) -> Encoded:
        """Everything about a (3, H', W') RGB picture that does not depend on the words."""
        sized = self.view.resize(picture.to(self.device), self.tower.encoder.patch_size)
        images, frame = self.view.frame(self.normalize(sized))
        dense = self.encode(images)
        return Encoded(dense, frame, self.find_regions(dense))

    def find_regions(self, dense: Dense, index: int = 0) -> Regions | None:
        """Cluster the patches of one picture of a batch."""
        if self.region_rule is None or dense.correlation is None:
            return None
        return find_regions(
            dense.correlation[index],
            dense.grid,
            self.region_rule,
            features=dense.patches[index],
        )

    def score_picture(self, encoded: Encoded, size: Size) -> Scores:
        """Label an encoded picture with the current words at (H, W)."""
        logits = self.score(encoded.dense)[0]
        scores = encoded.frame.scores(logits, size)
        regions = encoded.regions
        if regions is None or regions.count == 0 or self.vote == "none":
            return self._fold_background(scores)
        masks = encoded.frame.scores(regions.maps, size).labels()
        if self.vote == "majority":
            return self._vote(scores, masks, regions.count)
        rows, columns = (
            encoded.frame.matrix(encoded.dense.grid[axis], size[axis], axis, like=logits)
            for axis in (0, 1)
        )
        means = mean_logits(logits, masks, num_masks=regions.count, rows=rows, columns=columns)
        return self._fold_background(RegionScores(means, masks))

    def _vote(self, scores: Scores, masks: Tensor, count: int) -> Scores:
        labels, classes = self._fold(scores.labels()), len(self.vocabulary)
        voted = majority_vote(labels, masks, num_classes=classes, num_masks=count)
        return LabelScores(voted, classes)

    def _fold_background(self, scores: Scores) -> Scores:
        if not self.vocabulary.background_index:
            return scores
        return LabelScores(self._fold(scores.labels()), len(self.vocabulary))

    def _fold(self, labels: Tensor) -> Tensor:
        """Count every background word as the first of them."""
        background = self.vocabulary.background_index
        if not background:
            return labels
        table = torch.arange(len(self.vocabulary), device=labels.device)
        table[background] = background[0]
        return table[labels]
