"""The meta-architecture: CLIPtrase and the training-free methods it is compared with.

Equations 1-7 in order: tower (``tower.py``), patch logits (``scoring.py``), regions
(``regions.py``), one label per region (``voting.py``). Letters: B pictures, N = h * w patches,
K classes with background words, D joint width, H x W final picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

from .attention import allowed_pairs
from .build import method_arguments
from .mask_sources import external_matrix
from .regions import RegionRule, Regions, find_regions
from .sam import PointPredictor, cluster_points, sam_masks
from .sclip import SclipRule, finish
from .scoring import CosineScorer
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
        picture: (3, H', W') RGB as it came in.
        regions: clusters and maps; None for methods without.
    """

    dense: Dense
    frame: Frame
    picture: Tensor
    regions: Regions | None


@META_ARCH_REGISTRY.register()
class CLIPtrase(Segmenter):
    """Training-free segmentation with a frozen CLIP.

    Args:
        tower: pictures -> ``Dense``; default semantic correlation recovery.
        scorer: (``Dense``, text) -> logits per patch; default scaled cosines.
        view: how a picture is brought to the tower; None leaves that to ``protocol``.
        regions: how regions are found; None labels every pixel for itself.
        vote: ``majority`` of labels, ``mean_logits``, or ``none``.
        mask_source: (picture, grid) -> correlation matrix that is clustered in place of CLIP's;
            ``"external"`` takes ``correlation`` from the input dict.
        sam: makes the masks from the clusters in place of the prototypes.
        sam_points: most points per cluster; 0 for all.
        gt_restricted: patches attend only to patches of their true label (an ablation; the input
            dict must hold ``sem_seg``).
        sclip: last steps of SCLIP's own protocol; only without ``view``.
        pixel_statistics: mean and standard deviation in 0..255 in place of CLIP's.
        segmenter: arguments of ``Segmenter``.

    Raises:
        UserError: for a vote of unknown name.
    """

    @configurable
    def __init__(
        self,
        *,
        tower: Callable[..., Dense] | None = None,
        scorer: Callable[[Dense, Tensor], Tensor] | None = None,
        view: View | None = None,
        regions: RegionRule | None = None,
        vote: str = "majority",
        mask_source: Callable[[Tensor, tuple[int, int]], Tensor] | str | None = None,
        sam: PointPredictor | None = None,
        sam_points: int = 0,
        gt_restricted: bool = False,
        sclip: SclipRule | None = None,
        pixel_statistics: tuple[Sequence[float], Sequence[float]] | None = None,
        **segmenter: Any,
    ) -> None:
        super().__init__(**segmenter)
        if vote not in VOTES:
            raise UserError(
                f"MODEL.CLIPTRASE.VOTE: '{vote}' is unknown.{nearest(vote, VOTES)} "
                f"Known: {', '.join(VOTES)}"
            )
        self.tower = tower or RecoveryTower(self.clip.visual, TowerRule())
        self.scorer = scorer or CosineScorer(self.clip.logit_scale)
        self.view = view
        self.region_rule = regions
        self.vote = vote
        self.mask_source = mask_source
        self.sam, self.sam_points = sam, sam_points
        self.gt_restricted = gt_restricted
        self.sclip = sclip
        self._statistics = pixel_statistics
        self._input: dict[str, Any] = {}

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read ``MODEL.CLIPTRASE`` and the shared keys."""
        return method_arguments(cfg)

    def normalize(self, picture: Tensor) -> Tensor:
        """Bring RGB values to the tower's statistics."""
        if self._statistics is None:
            return super().normalize(picture)
        mean, std = (torch.tensor(s, device=self.device).view(3, 1, 1) for s in self._statistics)
        return (picture.to(self.device).float() - mean) / std

    def encode_words(self) -> Tensor:
        """(K, D) unit text vectors; under SCLIP's own protocol one per synonym."""
        if self.sclip is None:
            return super().encode_words()
        return self.text_embedder.texts(self.vocabulary.texts, self.templates)

    def encode(self, images: Tensor) -> Dense:
        """(B, 3, h', w') normalised pictures -> tokens and correlation."""
        if self.gt_restricted:
            return self.tower(images, allowed=self._allowed(images))
        return self.tower(images)

    def score(self, features: Dense) -> Tensor:
        """Compare patches with the words: (B, K, h, w) logits."""
        return self.scorer(features, self.text_features())

    def encode_picture(self, picture: Tensor) -> Any:
        """Everything about a (3, H', W') RGB picture that does not depend on the words."""
        if self.view is None:
            encoded = super().encode_picture(picture)
            kept = self.sclip is not None and self.sclip.pamr_steps
            return encoded, self.normalize(picture) if kept else None
        return self.encode_pictures([picture])[0]

    def encode_pictures(self, pictures: Sequence[Tensor]) -> list[Encoded]:
        """Encode pictures, those of one size together; the result does not depend on the batch."""
        if self.view is None:
            raise UserError("pictures are encoded together only with a view of the method's own")
        patch = self.tower.encoder.patch_size
        sized = [self.view.resize(p.to(self.device), patch) for p in pictures]
        framed = [self.view.frame(self.normalize(p)) for p in sized]
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, (images, _) in enumerate(framed):
            groups.setdefault(tuple(images.shape), []).append(index)
        dense: dict[int, Dense] = {}
        for indices in groups.values():
            batch = self.encode(torch.cat([framed[i][0] for i in indices]))
            dense |= {i: batch.one(row) for row, i in enumerate(indices)}
        return [
            Encoded(dense[i], framed[i][1], pictures[i], self._find_regions(dense[i], sized[i]))
            for i in range(len(pictures))
        ]

    def score_picture(self, encoded: Any, size: Size) -> Scores:
        """Label an encoded picture with the current words at (H, W)."""
        if self.view is None:
            scores = super().score_picture(encoded[0], size)
            if self.sclip is None:
                return self._fold_background(scores)
            return finish(scores.full(), self.vocabulary.class_index, self.sclip, encoded[1])[1]
        logits = self.score(encoded.dense)[0]
        scores = encoded.frame.scores(logits, size)
        masks = self.region_masks(encoded, size)
        if masks is None or self.vote == "none":
            return self._fold_background(scores)
        if self.vote == "majority":
            labels, classes = self.fold(scores.labels()), len(self.vocabulary)
            count = encoded.regions.count
            voted = majority_vote(labels, masks, num_classes=classes, num_masks=count)
            return LabelScores(voted, classes)
        rows, columns = (
            encoded.frame.matrix(encoded.dense.grid[axis], size[axis], axis, like=logits)
            for axis in (0, 1)
        )
        means = mean_logits(
            logits, masks, num_masks=encoded.regions.count, rows=rows, columns=columns
        )
        return self._fold_background(RegionScores(means, masks))

    def export_obstacle(self) -> str:
        """Regions are as many as the picture has, which no fixed program can follow."""
        if self.region_rule is not None:
            return (
                "its regions come from clustering, and how many there are depends on the picture. "
                "Without regions it can be: MODEL.CLIPTRASE.CLUSTER.ENABLED False, or METHOD clip, "
                "sclip, maskclip or clip_surgery"
            )
        if self.gt_restricted:
            return "MODEL.CLIPTRASE.SCR.GT_RESTRICTED needs the true labels of the picture"
        return ""

    def region_masks(self, encoded: Encoded, size: Size) -> Tensor | None:
        """Give each pixel its region.

        Args:
            encoded: an encoded picture.
            size: (H, W).

        Returns:
            (H, W) int64 region numbers, or None if there is no region.
        """
        regions = encoded.regions
        if regions is None or regions.count == 0:
            return None
        masks = encoded.frame.scores(regions.maps, size).labels()
        if self.sam is None:
            return masks
        picture = encoded.picture.cpu()
        if tuple(picture.shape[-2:]) != tuple(size):
            picture = F.interpolate(picture[None].float(), size=size, mode="bilinear")[0]
        image = picture.round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
        points = cluster_points(regions.labels, encoded.dense.grid, size, limit=self.sam_points)
        return sam_masks(self.sam, image, points, masks)

    def fold(self, labels: Tensor) -> Tensor:
        """Count every background word as the first of them: (H, W) -> (H, W)."""
        background = self.vocabulary.background_index
        if not background:
            return labels
        table = torch.arange(len(self.vocabulary), device=labels.device)
        table[background] = background[0]
        return table[labels]

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """Segment, see ``Segmenter``; pictures of one size go through the tower together."""
        plain = self.view is not None and not self.gt_restricted and self.mask_source != "external"
        own_words = any("vocabulary" in one for one in batched_inputs)
        if self.training or len(batched_inputs) < 2 or own_words or not plain:
            return super().forward(batched_inputs)
        with torch.no_grad():
            encoded = self.encode_pictures([one["image"] for one in batched_inputs])
            return [
                self.postprocess(self.score_picture(e, _size(one)))
                for e, one in zip(encoded, batched_inputs, strict=True)
            ]

    def _segment_input(self, one: dict[str, Any]) -> dict[str, Tensor]:
        self._input = one  # read where an ablation needs more than the picture
        try:
            return super()._segment_input(one)
        finally:
            self._input = {}

    def _find_regions(self, dense: Dense, sized: Tensor) -> Regions | None:
        if self.region_rule is None:
            return None
        if self.mask_source is None:
            matrix = dense.correlation[0]
        elif self.mask_source == "external":
            count = dense.grid[0] * dense.grid[1]
            matrix = external_matrix(self._given("correlation"), count).to(self.device)
        else:
            matrix = self.mask_source(sized, dense.grid).to(self.device)
        return find_regions(matrix, dense.grid, self.region_rule, features=dense.patches[0])

    def _allowed(self, images: Tensor) -> Tensor:
        truth = torch.as_tensor(self._given("sem_seg"), device=self.device)
        grid = self.tower.encoder.grid(tuple(images.shape[-2:]))
        cells = F.interpolate(truth[None, None].float(), size=grid, mode="nearest")
        return allowed_pairs(cells.flatten(1).long())

    def _given(self, key: str) -> Any:
        if key not in self._input:
            what = "GT_RESTRICTED" if key == "sem_seg" else "MASK_SOURCE external"
            raise UserError(f"MODEL.CLIPTRASE: {what} needs '{key}' in the input dict")
        return self._input[key]

    def _fold_background(self, scores: Scores) -> Scores:
        if len(self.vocabulary.background_index) < 2:
            return scores
        return LabelScores(self.fold(scores.labels()), len(self.vocabulary))


def _size(one: dict[str, Any]) -> Size:
    height, width = one["image"].shape[-2:]
    return one.get("height", height), one.get("width", width)
