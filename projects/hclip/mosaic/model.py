"""Adapting CLIP to regions on mosaics of pictures with captions, as a Detectron2 meta-architecture.

Each cell of a mosaic is a region whose text is known: the caption of the picture in it. Letters: B
mosaics, n pictures of a part, R regions, K classes, D joint width, h x w grid of patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes
from torch import Tensor
from torch.nn import functional as F

from ovs_core.clip import CLIP, ImageEncoder, TextEmbedder, TextEncoder
from ovs_core.errors import UserError, check_choice
from ovs_core.modeling.contract import OpenVocabularyModel, Words
from ovs_core.modeling.global_batch import Facts
from ovs_core.modeling.padding import stack_padded
from ovs_core.modeling.scores import size_of
from ovs_core.tensor.placing import place

from ..adaptation import Adaptation, recompute_blocks
from ..last_blocks import LAST_BLOCKS
from ..regions import region_pooler
from ..rotation import POPAdaptation
from ..tokens import encode_tokens
from .arrangement import arrange, cell_boxes, mosaic_of
from .build import MosaicSettings, mosaic_arguments
from .contrast import contrastive_loss, put_among, with_gradient_times
from .region_accuracy import LABELS


@META_ARCH_REGISTRY.register()
class HCLIPMosaic(OpenVocabularyModel):
    """A CLIP that learns to tell the pictures of a mosaic apart by their captions.

    Args:
        clip: the CLIP, already changed by ``adaptation``.
        adaptation: how it trains.
        templates: prompts with one ``{}``, for the names of classes in an evaluation.
        settings: how mosaics are made.
        last_block: of ``LAST_BLOCKS``, how the last image block makes dense features.
        train_text: whether gradients go through the text tower.
        rate: factor on the learning rates.
        checkpointing: recompute CLIP's blocks in the backward pass.

    Raises:
        UserError: if the tower cannot be shown the mosaics, or the text tower is to stay as it is
            and the adaptation moves it with the image tower.
    """

    trains = True

    @configurable
    def __init__(
        self,
        *,
        clip: CLIP,
        adaptation: Adaptation,
        templates: Sequence[str],
        settings: MosaicSettings,
        last_block: str = "cls",
        train_text: bool = True,
        rate: float = 1.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_choice("MODEL.HCLIP_DET.LAST_BLOCK", last_block, LAST_BLOCKS)
        if isinstance(adaptation, POPAdaptation) and not train_text:
            raise UserError(
                f"MODEL.HCLIP_MOSAIC.TRAIN_TEXT False: MODEL.CATSEG.FINETUNE {adaptation.mode} has "
                "one tensor for both towers, so that the text tower moves too; set it to True, or "
                "choose another FINETUNE"
            )
        self.clip, self.adaptation = clip, adaptation
        self.templates, self.settings = tuple(templates), settings
        self.image_encoder, self.text_encoder = ImageEncoder(clip.visual), TextEncoder(clip)
        settings.check_canvas(self.image_encoder)
        self.last_block = LAST_BLOCKS[last_block]
        self.train_text = train_text and adaptation.trains_text
        self.pooler = region_pooler(self.image_encoder.patch_size[0])
        self.rates = {"clip.": rate, "adaptation.": rate}
        if checkpointing:
            recompute_blocks(clip, adaptation)
        self._text: Tensor | None = None

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Build the parts, see ``build.py``."""
        return mosaic_arguments(cfg)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.clip.pixel_mean.device

    @property
    def answers(self) -> tuple[str, ...]:
        """What the outputs can be measured by."""
        return ("instance",)

    def train(self, mode: bool = True) -> HCLIPMosaic:
        """Switch between training and evaluation; values of a training step are dropped."""
        self.adaptation.clock.stop()
        self._text = None
        return super().train(mode)

    def set_vocabulary(
        self, words: Words, *, unseen: Sequence[int] = (), outside: Sequence[int] = ()
    ) -> None:
        """Choose the words that boxes are named with in an evaluation; training has captions."""
        super().set_vocabulary(words, unseen=unseen, outside=outside)
        self._text = None

    def reads_truth(self) -> str:
        """The boxes."""
        return "each picture comes with its true boxes"

    def check_split(self, pictures: int, accumulate: int) -> None:
        """Refuse parts that are not made of whole groups; see ``MosaicSettings.check_split``."""
        self.settings.check_split(pictures)

    def forward(
        self, batched_inputs: list[dict[str, Any]]
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Train, or name true boxes.

        Args:
            batched_inputs: in training dicts with ``image`` (3, p, p) RGB in 0..255 and
                ``caption``; else with ``image`` (3, H, W) and ``instances``, the true boxes.

        Returns:
            In training a dict of losses. Else per picture a dict with ``region_labels`` (R,) int64,
            the class of each box.
        """
        if self.training:
            return self.losses(batched_inputs)
        with torch.no_grad():
            return [{LABELS: self.name_boxes(one)} for one in batched_inputs]

    def losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Contrast pictures and captions of a step; see ``OpenVocabularyModel.facts``.

        A part contrasts all pairs of the step, of which only its own have gradients. The gradients
        of all parts together are those of the step.
        """
        pictures, captions = self.encode_pairs(batched_inputs)
        scale = self.clip.parts.logit_scale.detach().exp()  # CLIP's own, which stays
        if self.part is None:
            return {"loss_contrast": contrastive_loss(pictures, captions, scale)}
        every, start = self.part.facts, self.part.start
        pictures = put_among(pictures, [one["picture"] for one in every], start)
        captions = put_among(captions, [one["caption"] for one in every], start)
        loss = contrastive_loss(pictures, captions, scale)
        share = self.part.pictures / len(every)
        return {"loss_contrast": with_gradient_times(loss, 1 / share)}

    def facts(self, batched_inputs: list[dict[str, Any]]) -> list[Facts]:
        """The features of each picture and its caption, which those of other parts meet."""
        with torch.no_grad():
            pairs = [features.float().cpu() for features in self.encode_pairs(batched_inputs)]
        return [
            {"picture": picture, "caption": caption}
            for picture, caption in zip(*pairs, strict=True)
        ]

    def encode_pairs(self, batched_inputs: Sequence[dict[str, Any]]) -> tuple[Tensor, Tensor]:
        """Give (n, D) unit features of pictures, by their cells or alone, and of their captions.

        Raises:
            UserError: if a picture came without a caption.
        """
        if any("caption" not in one for one in batched_inputs):
            raise UserError(
                "a training picture has no caption ('caption'); set INPUT.MAPPER to "
                "CaptionDatasetMapper"
            )
        self.adaptation.begin_step(self.clip)
        images = torch.stack([one["image"] for one in batched_inputs])
        pictures = self.encode_pictures(self.normalize(images))
        tokens = self.text_encoder.tokenize([one["caption"] for one in batched_inputs])
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.train_text):
            captions = self.text_encoder.in_groups(tokens)
        return pictures, F.normalize(captions, dim=-1)

    def encode_pictures(self, images: Tensor) -> Tensor:
        """(n, 3, p, p) normalised pictures -> (n, D) unit features: of a cell, or of it alone."""
        canvas, grids = self.settings.canvas, self.settings.grids
        arrangement = arrange(len(images), self.settings.pictures_per_group, grids)
        found: list[Tensor] = []
        if arrangement.mosaics:
            pictures = [images[m[0] : m[-1] + 1] for m in arrangement.mosaics]
            mosaics = torch.stack([mosaic_of(one, canvas) for one in pictures])
            boxes = [
                Boxes(place(cell_boxes(round(len(one) ** 0.5), canvas), images.device))
                for one in pictures
            ]
            found.append(self.region_features(mosaics, boxes))
        if arrangement.alone:
            alone = images[place(arrangement.alone, images.device)]
            tokens = encode_tokens(self.image_encoder, self.adaptation, alone)
            found.append(F.normalize(tokens.cls, dim=-1))
        return torch.cat(found)[place(arrangement.order, images.device).argsort()]

    def region_features(self, images: Tensor, boxes: Sequence[Boxes]) -> Tensor:
        """Pool dense features in boxes (RoIAlign to one cell), as CLIM does.

        Args:
            images: (B, 3, H, W) normalised, sides multiples of the patch.
            boxes: of each picture in its pixels, R in all.

        Returns:
            (R, D) unit features.
        """
        tokens = encode_tokens(
            self.image_encoder, self.adaptation, images, last_block=self.last_block
        )
        dense = F.normalize(tokens.patches.float(), dim=1)
        return F.normalize(self.pooler([dense], list(boxes)).flatten(1), dim=-1)

    def name_boxes(self, one: dict[str, Any]) -> Tensor:
        """(R,) class of each true box of a test picture.

        Raises:
            UserError: if the picture came without its boxes.
        """
        if "instances" not in one:
            raise UserError(
                "a test picture has no boxes ('instances'); set INPUT.TEST_MAPPER to "
                "RegionDatasetMapper"
            )
        image = self.normalize(one["image"])
        padded = stack_padded([image], size_of(image), divisor=self.image_encoder.patch_size[0])
        boxes = one["instances"].gt_boxes.to(self.device)
        scores = self.region_features(padded, [boxes]) @ self.class_features().T
        scores[:, list(self.outside)] = -torch.inf
        return scores.argmax(dim=1)

    def class_features(self) -> Tensor:
        """(K, D) unit features of the current words, kept until words or weights change."""
        if self._text is None:
            embedder = TextEmbedder(self.text_encoder, folder="")  # a new one knows no older weight
            self._text = embedder.classes(self.vocabulary, self.templates)
        return self._text

    def normalize(self, images: Tensor) -> Tensor:
        """Bring RGB values in 0..255 to CLIP's statistics."""
        return self.clip.normalize(images.to(self.device, non_blocking=True))
