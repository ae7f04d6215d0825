"""The meta-architecture: CLIPtrase and the training-free methods it is compared with.

Equations 1-7 in order: tower (``tower.py``), patch logits (``scoring.py``), regions
(``regions.py``), one label per region (``voting.py``). Letters: B pictures, N = h * w patches,
K classes with background words, D joint width, H x W final picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor
from typing_extensions import Unpack

from ovs_core.errors import UserError, check_choice
from ovs_core.modeling.open_words import padded_labels, strip_labels
from ovs_core.modeling.picture_batches import by_shape
from ovs_core.modeling.pixel_statistics import PixelStatistics
from ovs_core.modeling.scores import LabelScores, Scores, Size, size_of
from ovs_core.modeling.segmenter import Segmenter, SegmenterArguments, output_size
from ovs_core.words.label_space import fold_background

from .build import cliptrase_arguments
from .encoding import Encoded, EncodedWindows, same_label_pairs
from .last_steps import LastSteps
from .mask_files import FileSource, masks_at
from .mask_sources import MaskSource, TowerSource
from .proxy import ProxyTower
from .regions import RegionRule, Regions, find_regions
from .sam import SamMasks
from .scoring import CosineScorer
from .tower import Dense, RecoveryTower, Tower, TowerRule
from .views import Frame, View
from .voting import VOTES, RegionScores, majority_vote, mean_logits

KEY = "MODEL.CLIPTRASE"


@META_ARCH_REGISTRY.register()
class CLIPtrase(Segmenter):
    """Training-free segmentation with a frozen CLIP.

    Args:
        tower: pictures -> ``Dense``; default semantic correlation recovery.
        scorer: (``Dense``, text) -> logits per patch; default scaled cosines.
        view: how a picture is brought to the tower; None leaves that to ``protocol``.
        regions: how regions are found; None labels every pixel for itself.
        vote: ``majority`` of labels, ``mean_logits``, or ``none``.
        mask_source: gives the correlation matrix that is clustered; default the tower.
        sam: makes the masks from the clusters in place of the prototypes.
        gt_restricted: patches attend only to patches of their true label (an ablation; the input
            dict must hold ``sem_seg``).
        last_steps: what follows averaged windows, for one text per synonym; only without ``view``.
        statistics: of pixels, in place of CLIP's.
        segmenter: arguments of ``Segmenter``.

    Raises:
        UserError: for a vote of unknown name, or a restriction that the tower cannot keep.
    """

    @configurable
    def __init__(
        self,
        *,
        tower: Tower | None = None,
        scorer: Callable[[Dense, Tensor], Tensor] | None = None,
        view: View | None = None,
        regions: RegionRule | None = None,
        vote: str = "majority",
        mask_source: MaskSource | None = None,
        sam: SamMasks | None = None,
        gt_restricted: bool = False,
        last_steps: LastSteps | None = None,
        statistics: PixelStatistics | None = None,
        **segmenter: Unpack[SegmenterArguments],
    ) -> None:
        super().__init__(**segmenter)
        check_choice(f"{KEY}.VOTE", vote, VOTES)
        self.tower = tower or RecoveryTower(self.clip.visual, TowerRule())
        self.scorer = scorer or CosineScorer(self.clip.logit_scale)
        self.view, self.region_rule, self.vote = view, regions, vote
        self.mask_source = mask_source or TowerSource()
        self.sam, self.last_steps = sam, last_steps
        self.statistics = statistics
        self.gt_restricted = gt_restricted
        if gt_restricted and (view is None or not isinstance(self.tower, RecoveryTower)):
            raise UserError(
                f"{KEY}.SCR.GT_RESTRICTED needs METHOD cliptrase and a PROTOCOL that shows the "
                "whole picture: standalone, fullres or d2"
            )
        self.to(self.device)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Build the parts of ``MODEL.CLIPTRASE``; see ``build``."""
        return cliptrase_arguments(cfg)

    def forward(
        self, batched_inputs: list[dict[str, Any]]
    ) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Segment, see ``Segmenter``; pictures of one size go through the tower together."""
        own_words = any("vocabulary" in one for one in batched_inputs)
        if self.training or self.view is None or own_words:
            return super().forward(batched_inputs)
        with torch.no_grad():
            encoded = self.encode_pictures([one["image"] for one in batched_inputs], batched_inputs)
            return [
                self.postprocess(self.score_picture(e, output_size(one)))
                for e, one in zip(encoded, batched_inputs, strict=True)
            ]

    def segment_input(self, one: dict[str, Any]) -> Scores:
        """Segment the picture of an input dict; two ablations read more of it."""
        if self.view is None:
            return super().segment_input(one)
        (encoded,) = self.encode_pictures([one["image"]], [one])
        return self.score_picture(encoded, output_size(one))

    def normalize(self, picture: Tensor) -> Tensor:
        """Bring RGB values to the tower's statistics."""
        if self.statistics is None:
            return super().normalize(picture)
        return self.statistics(picture)

    def encode_words(self) -> Tensor:
        """(K, D) unit text vectors; with last steps one per synonym."""
        if self.last_steps is None or self.text_embedder is None:
            return super().encode_words()
        return self.text_embedder.texts(self.vocabulary.texts, self.templates)

    def bare_forward(self, images: Tensor) -> Any:
        """CLIP's forward, and that of the other network where there is one."""
        bare = super().bare_forward(images)
        if isinstance(self.tower, ProxyTower):
            return bare, self.tower.network(images)
        return bare

    def encode(self, images: Tensor) -> Dense:
        """(B, 3, h', w') normalised pictures -> tokens and correlation."""
        return self.tower(images)

    def score(self, features: Dense) -> Tensor:
        """Compare patches with the words: (B, K, h, w) logits."""
        return self.scorer(features, self.text_features())

    def encode_picture(self, picture: Tensor) -> Encoded | EncodedWindows:
        """Everything about a (3, H', W') RGB picture that does not depend on the words."""
        if self.view is None:
            kept = None if self.last_steps is None else self.normalize(picture)
            return EncodedWindows(super().encode_picture(picture), kept)
        return self.encode_pictures([picture])[0]

    def encoder_inputs(self, picture: Tensor) -> list[Tensor]:
        """The normalised pictures that the tower is shown."""
        if self.view is None:
            return super().encoder_inputs(picture)
        sized = self.view.resize(picture.to(self.device), self.tower.encoder.patch_size)
        return [self.view.frame(self.normalize(sized))[0]]

    def encode_pictures(
        self, pictures: Sequence[Tensor], inputs: Sequence[Mapping[str, Any]] | None = None
    ) -> list[Any]:
        """Encode pictures, those of one size together; the result does not depend on the batch.

        Args:
            pictures: (3, H', W') RGB each.
            inputs: the input dicts that they come from, of which two ablations read more.

        """
        if self.view is None:
            kept = [None if self.last_steps is None else self.normalize(p) for p in pictures]
            together = self.protocol.encode_all(self, [self.normalize(p) for p in pictures])
            return [EncodedWindows(*own) for own in zip(together, kept, strict=True)]
        inputs = [{} for _ in pictures] if inputs is None else inputs
        patch = self.tower.encoder.patch_size
        sized = [self.view.resize(p.to(self.device, non_blocking=True), patch) for p in pictures]
        framed = [self.view.frame(self.normalize(p)) for p in sized]
        dense: dict[int, Dense] = {}
        for own in by_shape([images for images, _ in framed]):
            images = torch.cat([framed[i][0] for i in own])
            batch = self._encode_batch(images, [inputs[i] for i in own])
            dense |= {i: batch.one(row) for row, i in enumerate(own)}
        return [
            self._encoded(dense[i], framed[i][1], picture, sized[i], inputs[i])
            for i, picture in enumerate(pictures)
        ]

    def score_picture(self, encoded: Encoded | EncodedWindows, size: Size) -> Scores:
        """Label an encoded picture with the current words at (H, W)."""
        if isinstance(encoded, EncodedWindows):
            scores = super().score_picture(encoded.features, size)
            if self.last_steps is None or encoded.picture is None:
                return self._folded(scores)
            return self.last_steps.finish(
                scores.full(), self.vocabulary.class_index, encoded.picture
            )
        logits = self.score(encoded.dense)[0]
        scores = encoded.frame.scores(logits, size)
        masks = self.region_masks(encoded, size)
        if masks is None or self.vote == "none":
            return self._folded(scores)
        alone = masks < 0  # in no mask of a file: labelled for themselves
        if not bool(alone.any()):
            return self._vote(encoded, logits, scores, masks)
        numbered = masks.masked_fill(alone, int(masks.max()) + 1)
        voted = self._vote(encoded, logits, scores, numbered).labels()
        own = self.fold(scores.labels())
        return LabelScores(torch.where(alone, own, voted), len(self.vocabulary))

    def _vote(self, encoded: Encoded, logits: Tensor, scores: Scores, masks: Tensor) -> Scores:
        size, count = size_of(masks), int(masks.max()) + 1
        if self.vote == "majority":
            labels, classes = self.fold(scores.labels()), len(self.vocabulary)
            voted = majority_vote(labels, masks, num_classes=classes, num_masks=count)
            return LabelScores(voted, classes)
        rows, columns = encoded.frame.matrices(encoded.dense.grid, size, like=logits)
        means = mean_logits(logits, masks, num_masks=count, rows=rows, columns=columns)
        return self._folded(RegionScores(means, masks))

    def region_masks(self, encoded: Encoded, size: Size) -> Tensor | None:
        """Give each pixel its region; made once for a picture, whatever the words.

        Args:
            encoded: an encoded picture.
            size: (H, W).

        Returns:
            (H, W) int64 region numbers, -1 for a pixel in no mask of a file; or None if there is no
            region.
        """
        regions = encoded.regions
        if encoded.given is None and (regions is None or regions.count == 0):
            return None
        if size not in encoded.masks:
            encoded.masks.clear()  # of one size at a time: a picture is rarely asked for at two
            encoded.masks[size] = self._masks(encoded, size)
        return encoded.masks[size]

    def _masks(self, encoded: Encoded, size: Size) -> Tensor:
        if encoded.given is not None:
            square = self.view is not None and self.view.protocol == "standalone"
            return masks_at(encoded.given, size, square=square).to(self.device)
        assert encoded.regions is not None
        masks = encoded.frame.scores(encoded.regions.maps, size).labels()
        if self.sam is None:
            return masks
        return self.sam(encoded.picture, encoded.regions.labels, encoded.dense.grid, masks)

    def fold(self, labels: Tensor) -> Tensor:
        """Count every background word as the first of them: (H, W) -> (H, W)."""
        return fold_background(labels, self.vocabulary.background_index)

    def reads_truth(self) -> str:
        """The true labels, where patches see only those of their own class."""
        return "patches see those of their true class alone" if self.gt_restricted else ""

    def protocol_text(self) -> str:
        """The view's values, or those of ``MODEL.OVS.PROTOCOL``."""
        return super().protocol_text() if self.view is None else repr(self.view)

    def engine_obstacle(self) -> str:
        """A tower that is told which patches may attend is another one for each picture."""
        if self.gt_restricted:
            return f"{KEY}.SCR.GT_RESTRICTED needs the true labels of the picture"
        return super().engine_obstacle()

    def export_obstacle(self) -> str:
        """Regions are as many as the picture has, which no fixed program can follow."""
        if self.region_rule is not None:
            return (
                "its regions come from clustering, and how many there are depends on the picture. "
                f"Without regions it can be: {KEY}.CLUSTER.ENABLED False, or another METHOD"
            )
        if self.gt_restricted:
            return f"{KEY}.SCR.GT_RESTRICTED needs the true labels of the picture"
        return ""

    def open_obstacle(self) -> str:
        """The last steps compare one text per synonym, and their thresholds all of them."""
        if self.last_steps is not None:
            return f"{KEY}.LAST_STEPS and SCLIP.OWN_PROTOCOL compare every synonym for itself"
        return super().open_obstacle()

    def open_labels(self, pictures: Tensor, size: Size) -> Tensor:
        """Label pictures without regions, see ``Segmenter.open_labels``."""
        if self.view is None:
            return super().open_labels(pictures, size)
        sized = self.view.resize(pictures, self.tower.encoder.patch_size)
        images, frame = self.view.frame(self.normalize(sized))
        maps = self.score(self.encode(images))
        if frame.canvas is None or frame.valid is None:
            return strip_labels(maps, size)
        return padded_labels(maps, size, frame.canvas, frame.valid)

    def _encode_batch(self, images: Tensor, inputs: Sequence[Mapping[str, Any]]) -> Dense:
        if not (self.gt_restricted and isinstance(self.tower, RecoveryTower)):
            return self.encode(images)
        allowed = same_label_pairs(inputs, self.tower.encoder.grid(size_of(images)))
        return self.tower(images, allowed=allowed.to(self.device))

    def _encoded(
        self, dense: Dense, frame: Frame, picture: Tensor, sized: Tensor, given: Mapping[str, Any]
    ) -> Encoded:
        """Take a picture's masks from a file, or find its regions."""
        if self.region_rule is not None and isinstance(self.mask_source, FileSource):
            masks = self.mask_source.masks(given)
            if masks is not None:
                if self.sam is not None:
                    raise UserError(
                        f"{KEY}.SAM takes its points from clusters, but the files of MASK_SOURCE "
                        "hold masks; switch it off, or give matrices"
                    )
                return Encoded(dense, frame, picture, None, masks)
        return Encoded(dense, frame, picture, self._regions(sized, dense, given))

    def _regions(self, sized: Tensor, dense: Dense, given: Mapping[str, Any]) -> Regions | None:
        if self.region_rule is None:
            return None
        matrix = self.mask_source(sized, dense, given).to(self.device)
        return find_regions(matrix, dense.grid, self.region_rule, features=dense.patches[0])

    def _folded(self, scores: Scores) -> Scores:
        if len(self.vocabulary.background_index) < 2:
            return scores
        return LabelScores(self.fold(scores.labels()), len(self.vocabulary))
