"""The detector as a Detectron2 meta-architecture: Faster R-CNN with words for classes.

Letters: K classes, D joint width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import (
    META_ARCH_REGISTRY,
    GeneralizedRCNN,
    build_backbone,
    build_proposal_generator,
    build_roi_heads,
)
from torch import Tensor

from ovs_core.clip import CLIP, TextEmbedder, TextEncoder
from ovs_core.data.build import dataset_metadata
from ovs_core.errors import UserError
from ovs_core.modeling.build import build_templates
from ovs_core.modeling.contract import OpenVocabularyModel, Words

from .backbone import DENSE


@META_ARCH_REGISTRY.register()
class HCLIPDetector(OpenVocabularyModel, GeneralizedRCNN):
    """Faster R-CNN on a frozen, adapted CLIP; any words can be detected.

    Args:
        templates: prompts with one ``{}``.
        base_names: classes that are trained with; every other word is novel.
        arguments: of Detectron2's ``GeneralizedRCNN``; the backbone is an ``AdaptedBackbone``, the
            heads are ``RegionTextROIHeads``.
    """

    trains = True

    @configurable
    def __init__(
        self, *, templates: Sequence[str], base_names: Sequence[str] = (), **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self.templates = tuple(templates)
        self.base_names = frozenset(name.casefold() for name in base_names)
        self.text_embedder = TextEmbedder(TextEncoder(self.clip))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Build the parts; the colour statistics are the CLIP's."""
        for part, name in (("BACKBONE", "AdaptedBackbone"), ("ROI_HEADS", "RegionTextROIHeads")):
            if cfg.MODEL[part].NAME != name:
                raise UserError(
                    f"MODEL.META_ARCHITECTURE {cls.__name__} needs MODEL.{part}.NAME {name}, not "
                    f"{cfg.MODEL[part].NAME}"
                )
        base_names = _base_names(cfg.DATASETS.TRAIN)
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        _check_levels(cfg, shapes)
        clip = backbone.encoder.clip
        return {
            "backbone": backbone,
            "proposal_generator": build_proposal_generator(cfg, shapes),
            "roi_heads": build_roi_heads(cfg, shapes),
            "input_format": cfg.INPUT.FORMAT,
            "vis_period": cfg.VIS_PERIOD,
            "pixel_mean": clip.pixel_mean.flatten().tolist(),
            "pixel_std": clip.pixel_std.flatten().tolist(),
            "templates": build_templates(cfg),
            "base_names": base_names,
        }

    @property
    def answers(self) -> tuple[str, ...]:
        """What the outputs can be measured by."""
        return ("instance",)

    @property
    def clip(self) -> CLIP:  # type: ignore[override]
        """The CLIP it stands on."""
        return self.backbone.encoder.clip

    def set_vocabulary(
        self,
        words: Words,
        *,
        unseen: Sequence[int] = (),
        outside: Sequence[int] = (),
    ) -> None:
        """Choose the words and embed them.

        Args:
            words: see ``Vocabulary.parse``; background words compete and give no boxes.
            unseen: indices of novel classes; without any, a class is novel unless its name is one
                of ``base_names``.
            outside: indices of classes that take no part.

        Raises:
            UserError: for words that cannot be used, or an index without a class.
        """
        super().set_vocabulary(words, unseen=unseen, outside=outside)
        text = self.text_embedder.classes(self.vocabulary, self.templates)
        names = self.vocabulary.names
        novel = self.unseen or [
            i for i, name in enumerate(names) if name.casefold() not in self.base_names
        ]
        self.roi_heads.set_words(
            text,
            base=~_mask(novel, len(text)),
            takes_part=~_mask(self.outside, len(text)),
            is_shown=~_mask(self.vocabulary.background_index, len(text)),
        )

    def forward(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor] | list[dict]:
        """Train or detect.

        Args:
            batched_inputs: Detectron2's list of dicts: ``image`` (3, H', W') RGB in 0..255,
                ``height`` and ``width`` of the original, in training ``instances``.

        Returns:
            In training a dict of losses. Else per picture a dict with ``instances``, whose
            ``pred_classes`` are indices of the current words.
        """
        _ = self.vocabulary
        if self.training:
            if any("instances" not in one for one in batched_inputs):
                raise UserError(
                    "a training picture has no boxes ('instances'); set INPUT.MAPPER to "
                    "DetectionDatasetMapper"
                )
            return super().forward(batched_inputs)
        with torch.no_grad():
            return super().forward(batched_inputs)


def _base_names(datasets: Sequence[str]) -> list[str]:
    """Names of the classes that a detector learns from its first training set."""
    if not datasets:
        return []
    metadata = dataset_metadata(datasets[0])
    names = metadata.get("thing_classes")
    if not names or metadata.get("stuff_classes"):
        raise UserError(
            f"DATASETS.TRAIN {datasets[0]}: is no dataset of boxes; name a dataset of "
            "instances, such as coco_detection_48_17_train or embedded_detection_train"
        )
    seen = metadata.get("seen_classes") or range(len(names))
    return [names[i] for i in seen]


def _check_levels(cfg: CfgNode, shapes: Mapping[str, ShapeSpec]) -> None:
    """Refuse pyramid levels that this CLIP's patch size does not give."""
    levels = [name for name in shapes if name != DENSE]
    for part in ("RPN", "ROI_HEADS"):
        unknown = [name for name in cfg.MODEL[part].IN_FEATURES if name not in levels]
        if unknown:
            raise UserError(
                f"MODEL.{part}.IN_FEATURES: '{unknown[0]}' does not exist; with patches of "
                f"{shapes[DENSE].stride} pixels the pyramid has {', '.join(levels)}"
            )


def _mask(indices: Sequence[int], count: int) -> Tensor:
    """(K,) bool, True at the indices."""
    mask = torch.zeros(count, dtype=torch.bool)
    mask[list(indices)] = True
    return mask
