"""Detectron2's box heads with words as classes and fused scores at test time.

Letters: B pictures, R regions, K classes, D joint width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import ROI_HEADS_REGISTRY
from detectron2.modeling.roi_heads import StandardROIHeads
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from detectron2.structures import Boxes, Instances
from torch import Tensor
from torch.nn import functional as F

from ovs_core.modeling.per_picture import seed_for

from .build import build_fusion
from .encoder import DENSE
from .fusion import ScoreFusion
from .region_classifier import RegionClassifier


@ROI_HEADS_REGISTRY.register()
class RegionTextROIHeads(StandardROIHeads):
    """Box heads whose classes are words.

    Args:
        fusion: fuses with the frozen encoder's scores at test time; None for the detector alone.
        arguments: of Detectron2's heads; ``box_predictor`` is a ``RegionClassifier``.
    """

    _turns: Iterator[int]

    @configurable
    def __init__(self, *, fusion: ScoreFusion | None = None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.fusion = fusion

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        """Read Detectron2's keys, and our own, see ``build.py``."""
        arguments = super().from_config(cfg, input_shape)
        return {**arguments, "fusion": build_fusion(cfg, input_shape[DENSE].stride)}

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        parts = super()._init_box_head(cfg, input_shape)
        shape, width = parts["box_head"].output_shape, input_shape[DENSE].channels
        return {**parts, "box_predictor": RegionClassifier(cfg, shape, embed_dim=width)}

    def set_words(self, text: Tensor, **kinds: Tensor) -> None:
        """Choose the classes, see ``RegionClassifier.set_words``."""
        self.num_classes = len(text)
        self.box_predictor.set_words(text, **kinds)

    def label_and_sample_proposals(self, proposals: Any, targets: Any) -> list[Instances]:
        """Sample the regions of every picture in turn; see Detectron2."""
        self._turns = iter(range(len(targets)))
        sampled: list[Instances] = super().label_and_sample_proposals(proposals, targets)
        return sampled

    def _sample_proposals(self, *arguments: Tensor) -> tuple[Tensor, Tensor]:
        seed_for(next(self._turns))  # so that they do not depend on the rest of the batch
        sampled: tuple[Tensor, Tensor] = super()._sample_proposals(*arguments)
        return sampled

    def _forward_box(
        self, features: dict[str, Tensor], proposals: list[Instances]
    ) -> dict[str, Tensor] | list[Instances]:
        if self.training:
            return super()._forward_box(features, proposals)
        predictor = self.box_predictor
        pooled = self.box_pooler(
            [features[name] for name in self.box_in_features],
            [p.proposal_boxes for p in proposals],
        )
        predictions = predictor(self.box_head(pooled))
        boxes = predictor.predict_boxes(predictions, proposals)
        scores = self.class_scores(predictions[0].softmax(dim=-1), features[DENSE], boxes)
        found, _ = fast_rcnn_inference(
            boxes,
            scores.split([len(p) for p in proposals]),
            [p.image_size for p in proposals],
            predictor.test_score_thresh,
            predictor.test_nms_thresh,
            predictor.test_topk_per_image,
        )
        return found

    def class_scores(
        self, detector: Tensor, dense: Tensor, boxes: tuple[Tensor, ...] | list[Tensor]
    ) -> Tensor:
        """Final scores of regions.

        Args:
            detector: (R, K + 1) probabilities of the detector, background last.
            dense: (B, D, h, w) dense features of the frozen encoder.
            boxes: (R_b, 4) boxes of each picture.

        Returns:
            (R, K + 1); 0 for background words.
        """
        words = self.box_predictor
        if self.fusion is not None:
            region = self.fusion.region_scores(
                dense, [Boxes(b) for b in boxes], words.text, words.takes_part
            )
            detector = self.fusion.fuse(detector, region, words.is_base)
        return detector * F.pad(words.is_shown, (0, 1), value=True)
