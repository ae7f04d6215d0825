"""The detector as a Detectron2 meta-architecture: Faster R-CNN with words for classes.

Letters: K classes, D joint width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN
from detectron2.structures import ImageList
from torch import Tensor

from ovs_core.clip import CLIP, TextEmbedder, TextEncoder
from ovs_core.errors import UserError
from ovs_core.modeling.contract import OpenVocabularyModel, Words
from ovs_core.modeling.global_batch import largest_size
from ovs_core.modeling.padding import stack_padded
from ovs_core.modeling.scores import size_of

from .backbone import AdaptedBackbone
from .build import detector_arguments
from .roi_heads import RegionTextROIHeads


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
    backbone: AdaptedBackbone
    roi_heads: RegionTextROIHeads

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
        """Build the parts, see ``build.py``."""
        return detector_arguments(cfg)

    @property
    def answers(self) -> tuple[str, ...]:
        """What the outputs can be measured by."""
        return ("instance",)

    @property
    def clip(self) -> CLIP:  # type: ignore[override]  # registered once, in the backbone
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

    def forward(
        self, batched_inputs: list[dict[str, Any]]
    ) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Train or detect.

        Args:
            batched_inputs: Detectron2's list of dicts: ``image`` (3, H', W') RGB in 0..255,
                ``height`` and ``width`` of the original, in training ``instances``.

        Returns:
            In training a dict of losses. Else per picture a dict with ``instances``, whose
            ``pred_classes`` are indices of the current words.
        """
        _ = self.vocabulary  # refuses to go on without words
        if self.training:
            if any("instances" not in one for one in batched_inputs):
                raise UserError(
                    "a training picture has no boxes ('instances'); set INPUT.MAPPER to "
                    "DetectionDatasetMapper"
                )
            return super().forward(batched_inputs)
        with torch.no_grad():
            return super().forward(batched_inputs)

    def preprocess_image(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """Normalise pictures, and pad them to the size of the largest of the step."""
        pictures = [one["image"].to(self.device) for one in batched_inputs]
        tensor = stack_padded(
            [(one - self.pixel_mean) / self.pixel_std for one in pictures],
            largest_size(batched_inputs, self.part),
            divisor=self.backbone.size_divisibility,
        )
        return ImageList(tensor, [size_of(one) for one in pictures])


def _mask(indices: Sequence[int], count: int) -> Tensor:
    """(K,) bool, True at the indices."""
    mask = torch.zeros(count, dtype=torch.bool)
    mask[list(indices)] = True
    return mask
