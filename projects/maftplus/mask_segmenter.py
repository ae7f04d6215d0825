"""What FC-CLIP and MAFT+ share: a convolutional CLIP, mask proposals, scores against words.

Letters: B pictures, Q masks, K classes, S texts, E joint width, Hp x Wp padded size.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import Tensor
from torch.nn import functional as F

from ovs_core.clip import CLIP
from ovs_core.clip.conv_encoder import ConvEncoder
from ovs_core.data.build import dataset_metadata
from ovs_core.errors import UserError
from ovs_core.modeling.build import segmenter_arguments
from ovs_core.modeling.mask2former import (
    HeadOutput,
    MaskedAttentionDecoder,
    MaskScores,
    Matcher,
    PixelDecoder,
    Prediction,
    SetCriterion,
    class_scores,
    fit_masks,
    mask_pool,
    read_targets,
)
from ovs_core.modeling.mask2former.mask_scores import SegmentsInfo
from ovs_core.modeling.protocols import Whole
from ovs_core.modeling.scores import Size
from ovs_core.modeling.segmenter import Segmenter
from ovs_core.words.dataset_words import dataset_vocabulary
from ovs_core.words.vocabulary import Vocabulary

from .published import rename_published
from .texts import TextRows, thing_classes

DIVISOR = 32


@dataclass(frozen=True)
class Tasks:
    """What is made of the masks at test time.

    Attributes:
        semantic: label map.
        panoptic: panoptic map.
        instance: instances.
        object_threshold: panoptic: masks must score higher.
        overlap_threshold: panoptic: share of its own area that a mask must win.
        detections: instances per picture.
        logits_first: resize logits also when only the label map is made, as published for panoptic.
    """

    semantic: bool = True
    panoptic: bool = False
    instance: bool = False
    object_threshold: float = 0.0
    overlap_threshold: float = 0.8
    detections: int = 100
    logits_first: bool = False

    def __post_init__(self) -> None:
        """Refuse a model that would answer nothing."""
        if not (self.semantic or self.panoptic or self.instance):
            raise UserError(
                "MODEL.MASK_FORMER.TEST: semantic, panoptic and instance are all off; switch one on"
            )


@dataclass(frozen=True)
class EncodedPicture:
    """A picture, and all masks found in it; no word has entered yet.

    Attributes:
        prediction: masks (1, Q, h, w) and class embeddings (1, Q, E) of the head.
        low_masks: (1, Q, Hp / 32, Wp / 32) mask logits at the size of ``dense``.
        mask_embedding: (1, Q, E) CLIP's own embedding of the masks, not normalised.
        dense: (1, C, Hp / 32, Wp / 32) trunk features.
        canvas: (Hp, Wp).
        valid: size of the picture inside.
    """

    prediction: Prediction
    low_masks: Tensor
    mask_embedding: Tensor
    dense: Tensor
    canvas: Size
    valid: Size


class MaskSegmenter(Segmenter):
    """Propose masks on a convolutional CLIP and score each mask against the words.

    Args:
        clip: CLIP with a convolutional image tower.
        templates: prompts with one ``{}``.
        pixel_decoder: features to mask features and memory.
        decoder: queries to masks and class embeddings.
        criterion: training losses.
        trained_words: vocabulary of training.
        tasks: outputs at test time.
        output: ``labels`` or ``scores`` for the semantic output.
    """

    def __init__(
        self,
        *,
        clip: CLIP,
        templates: Sequence[str],
        pixel_decoder: PixelDecoder,
        decoder: MaskedAttentionDecoder,
        criterion: SetCriterion,
        trained_words: Vocabulary,
        tasks: Tasks | None = None,
        output: str = "labels",
    ) -> None:
        super().__init__(
            clip=clip, templates=templates, protocol=Whole(divisor=DIVISOR), output=output
        )
        # Holds no weights of its own: the tower belongs to the CLIP.
        self._encoder = [ConvEncoder(clip.visual)]
        self.pixel_decoder = pixel_decoder
        self.decoder = decoder
        self.criterion = criterion
        self.trained_words = trained_words
        self.tasks = tasks or Tasks()
        self.text_rows = TextRows(clip.embed_dim)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read ``MODEL.MASK_FORMER`` and the shared keys."""
        shared = segmenter_arguments(cfg)
        if not isinstance(shared.pop("protocol"), Whole):
            raise UserError(
                "MODEL.OVS.PROTOCOL: mask-based methods look at the whole picture; set NAME to "
                "whole, SCALES to [1.0] and FLIP to False"
            )
        encoder = ConvEncoder(shared["clip"].visual)
        return {
            **shared,
            "pixel_decoder": build_pixel_decoder(cfg, encoder.channels),
            "decoder": build_decoder(cfg, shared["clip"].embed_dim),
            "criterion": build_criterion(cfg),
            "trained_words": training_vocabulary(cfg),
            "tasks": build_tasks(cfg),
        }

    @property
    def encoder(self) -> ConvEncoder:
        """The image tower."""
        return self._encoder[0]

    @property
    def answers(self) -> tuple[str, ...]:
        """The outputs that ``tasks`` switches on."""
        return tuple(n for n in ("semantic", "panoptic", "instance") if getattr(self.tasks, n))

    def train(self, mode: bool = True) -> MaskSegmenter:
        """Switch the mode; CLIP always stays in evaluation mode."""
        super().train(mode)
        self.clip.eval()
        return self

    def rows(self) -> tuple[Tensor, tuple[int, ...]]:
        """Text rows (S + 1, E) of the current words, void last, and the class of each text."""
        return self.text_rows(self.vocabulary, self.templates, self.text_embedder)

    def pad(self, pictures: Sequence[Tensor]) -> Tensor:
        """Normalise pictures and put them top left into one zero tensor.

        Args:
            pictures: (3, h, w) RGB in 0..255 each.

        Returns:
            (B, 3, Hp, Wp), sides the largest of the batch rounded up to a multiple of 32.
        """
        height, width = (max(p.shape[i] for p in pictures) for i in (-2, -1))
        height, width = height + -height % DIVISOR, width + -width % DIVISOR
        return torch.stack(
            [
                F.pad(self.normalize(p), (0, width - p.shape[-1], 0, height - p.shape[-2]))
                for p in pictures
            ]
        )

    def encode_picture(self, picture: Tensor) -> EncodedPicture:
        """Find the masks of a (3, H', W') picture and embed them."""
        images = self.pad([picture])
        canvas, valid = tuple(images.shape[-2:]), tuple(picture.shape[-2:])
        return EncodedPicture(*self.encode(images), canvas=canvas, valid=valid)

    def encode(self, images: Tensor) -> tuple[Prediction, Tensor, Tensor, Tensor]:
        """Find and embed the masks of normalised, padded pictures.

        Args:
            images: (B, 3, Hp, Wp).

        Returns:
            The first four fields of ``EncodedPicture``, for B pictures.
        """
        features = self.encoder(images)
        prediction = self.decoder(self.pixel_decoder(features))[-1]
        low, embedding = self.embed_masks(features["dense"], prediction.masks)
        return prediction, low, embedding, features["dense"]

    def bare_forward(self, images: Tensor) -> dict[str, Tensor]:
        """Run the image tower alone: the floor of a benchmark."""
        return self.encoder(images)

    def embed_masks(self, dense: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Masks at the size of ``dense`` (B, Q, h, w), and what CLIP sees in them (B, Q, E)."""
        low = fit_masks(masks.detach(), tuple(dense.shape[-2:]))
        return low, self.encoder.embed_masks(dense, low, mask_pool)

    def score_picture(self, encoded: EncodedPicture, size: Size) -> MaskScores:
        """Score the masks for the current words."""
        tasks = self.tasks
        return MaskScores(
            self.classify(encoded)[0],
            encoded.prediction.masks[0],
            encoded.canvas,
            encoded.valid,
            tuple(size),
            logits_first=tasks.panoptic or tasks.instance or tasks.logits_first,
        )

    @abstractmethod
    def classify(self, encoded: EncodedPicture) -> Tensor:
        """Give log-probabilities (1, Q, K + 1) of the masks for the current words, void last."""

    def trained_scores(self, prediction: Prediction, rows: Tensor, index: Sequence[int]) -> Tensor:
        """Scores (B, Q, K + 1) of the trained class embedding."""
        return class_scores(prediction.class_embedding, rows, index, self.decoder.logit_scale)

    def clip_scores(self, embedding: Tensor, rows: Tensor, index: Sequence[int]) -> Tensor:
        """Scores (B, Q, K + 1) of CLIP's own mask embedding."""
        return class_scores(embedding, rows, index, self.clip.model.logit_scale)

    def head_outputs(self, predictions: Sequence[Prediction]) -> list[HeadOutput]:
        """Score all heads against the training words."""
        rows, index = self.rows()
        return [HeadOutput(self.trained_scores(p, rows, index), p.masks) for p in predictions]

    def targets(self, batched_inputs: Sequence[dict[str, Any]], images: Tensor) -> list:
        """Read the segments of a batch."""
        return read_targets(
            batched_inputs,
            classes=len(self.vocabulary),
            size=tuple(images.shape[-2:]),
            device=images.device,
        )

    def postprocess(self, scores: MaskScores) -> dict[str, Any]:
        """Make the outputs that ``tasks`` asks for."""
        tasks, result = self.tasks, {}
        if tasks.semantic:
            result |= super().postprocess(scores)
        if tasks.panoptic:
            result["panoptic_seg"] = self.panoptic(scores)
        if tasks.instance:
            things = self.things() if tasks.panoptic else None
            result["instances"] = scores.instances(tasks.detections, things=things)
        return result

    def things(self) -> list[bool]:
        """For each of the current classes whether its segments are counted one by one."""
        return thing_classes(self.vocabulary, self.trained_words)

    def panoptic(self, scores: MaskScores) -> tuple[Tensor, SegmentsInfo]:
        """Segment ids (H, W) and the list of segments."""
        return scores.panoptic(
            self.things(),
            object_threshold=self.tasks.object_threshold,
            overlap_threshold=self.tasks.overlap_threshold,
        )

    def rename_published(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Translate a published checkpoint and refuse one of another model."""
        return rename_published(self, tensors)


def training_vocabulary(cfg: CfgNode) -> Vocabulary:
    """Give the words of ``DATASETS.TRAIN``; evaluation needs them to know what was seen.

    Raises:
        UserError: if no training set is named.
    """
    if not cfg.DATASETS.TRAIN:
        raise UserError(
            "DATASETS.TRAIN is empty; mask-based methods must know the words that the weights were "
            "trained with, also for evaluation"
        )
    return dataset_vocabulary(
        dataset_metadata(cfg.DATASETS.TRAIN[0]),
        name_field=cfg.MODEL.OVS.NAME_FIELD,
        synonym_field=cfg.MODEL.OVS.SYNONYM_FIELD,
    )


def build_pixel_decoder(cfg: CfgNode, channels: dict[str, int]) -> PixelDecoder:
    """Build the pixel decoder of ``MODEL.SEM_SEG_HEAD``."""
    head = cfg.MODEL.SEM_SEG_HEAD
    return PixelDecoder(
        channels,
        dim=head.CONVS_DIM,
        mask_dim=head.MASK_DIM,
        layers=head.TRANSFORMER_ENC_LAYERS,
        heads=cfg.MODEL.MASK_FORMER.NHEADS,
        feedforward=head.TRANSFORMER_ENC_FEEDFORWARD,
    )


def build_decoder(cfg: CfgNode, embed_dim: int) -> MaskedAttentionDecoder:
    """Build the transformer decoder of ``MODEL.MASK_FORMER``.

    Raises:
        UserError: if the widths do not fit.
    """
    node, head = cfg.MODEL.MASK_FORMER, cfg.MODEL.SEM_SEG_HEAD
    if head.MASK_DIM != node.HIDDEN_DIM:
        raise UserError(
            f"MODEL.SEM_SEG_HEAD.MASK_DIM ({head.MASK_DIM}) must equal MASK_FORMER.HIDDEN_DIM "
            f"({node.HIDDEN_DIM}): pooled mask features are added to the queries"
        )
    if node.DEC_LAYERS < 2:
        raise UserError(
            "MODEL.MASK_FORMER.DEC_LAYERS counts prediction heads, one more than layers; give >= 2"
        )
    return MaskedAttentionDecoder(
        embed_dim=embed_dim,
        input_dim=head.CONVS_DIM,
        dim=node.HIDDEN_DIM,
        mask_dim=head.MASK_DIM,
        queries=node.NUM_OBJECT_QUERIES,
        layers=node.DEC_LAYERS - 1,
        heads=node.NHEADS,
        feedforward=node.DIM_FEEDFORWARD,
    )


def build_criterion(cfg: CfgNode) -> SetCriterion:
    """Build matcher and losses of ``MODEL.MASK_FORMER``."""
    node = cfg.MODEL.MASK_FORMER
    weights = {
        "class_weight": node.CLASS_WEIGHT,
        "mask_weight": node.MASK_WEIGHT,
        "dice_weight": node.DICE_WEIGHT,
    }
    return SetCriterion(
        Matcher(points=node.TRAIN_NUM_POINTS, **weights),
        void_weight=node.NO_OBJECT_WEIGHT,
        points=node.TRAIN_NUM_POINTS,
        oversample=node.OVERSAMPLE_RATIO,
        importance=node.IMPORTANCE_SAMPLE_RATIO,
        **weights,
    )


def build_tasks(cfg: CfgNode) -> Tasks:
    """Read ``MODEL.MASK_FORMER.TEST``."""
    node = cfg.MODEL.MASK_FORMER.TEST
    return Tasks(
        semantic=node.SEMANTIC_ON,
        panoptic=node.PANOPTIC_ON,
        instance=node.INSTANCE_ON,
        object_threshold=node.OBJECT_MASK_THRESHOLD,
        overlap_threshold=node.OVERLAP_THRESHOLD,
        detections=cfg.TEST.DETECTIONS_PER_IMAGE,
        logits_first=node.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE,
    )
