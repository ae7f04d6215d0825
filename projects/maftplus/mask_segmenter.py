"""What FC-CLIP and MAFT+ share: a convolutional CLIP, mask proposals, scores against words.

Letters: B pictures, Q masks, K classes, S texts, E joint width, Hp x Wp padded size.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ovs_core.clip.conv_encoder import ConvEncoder
from ovs_core.errors import UserError
from ovs_core.modeling.contract import TASKS
from ovs_core.modeling.mask2former import (
    HeadOutput,
    MaskedAttentionDecoder,
    MaskScores,
    PixelDecoder,
    Prediction,
    QuerySegmenter,
    SetCriterion,
    class_scores,
    fit_masks,
    mask_pool,
    open_mask_labels,
)
from ovs_core.modeling.mask2former.mask_scores import SegmentsInfo
from ovs_core.modeling.picture_batches import encode_by_shape
from ovs_core.modeling.scores import Scores, Size, size_of
from ovs_core.modeling.segmenter import SegmenterArguments
from ovs_core.words.vocabulary import Vocabulary

from .published import published_weights
from .texts import TextRows, refuse_synonyms, thing_classes

if TYPE_CHECKING:
    from typing_extensions import Unpack


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
        pad_together: pad a batch to its largest picture, as published; masks then see the padding,
            and depend on who else is in the batch.
    """

    semantic: bool = True
    panoptic: bool = False
    instance: bool = False
    object_threshold: float = 0.0
    overlap_threshold: float = 0.8
    detections: int = 100
    logits_first: bool = False
    pad_together: bool = False

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


class MaskSegmenter(QuerySegmenter):
    """Propose masks on a convolutional CLIP and score each mask against the words.

    Args:
        pixel_decoder: features to mask features and memory.
        decoder: queries to masks and class embeddings.
        criterion: training losses.
        trained_words: vocabulary of training.
        tasks: outputs at test time.
        segmenter: arguments of ``Segmenter``; the CLIP has a convolutional image tower.
    """

    def __init__(
        self,
        *,
        pixel_decoder: PixelDecoder,
        decoder: MaskedAttentionDecoder,
        criterion: SetCriterion,
        trained_words: Vocabulary,
        tasks: Tasks | None = None,
        **segmenter: Unpack[SegmenterArguments],
    ) -> None:
        super().__init__(criterion=criterion, **segmenter)
        self.encoder = ConvEncoder(self.clip.visual)
        self.pixel_decoder = pixel_decoder
        self.decoder = decoder
        self.trained_words = trained_words
        self.tasks = tasks or Tasks()
        self.text_rows = TextRows(self.clip.embed_dim)

    @property
    def queries(self) -> Tensor:
        """(Q, D) that the decoder begins with; their positions stay as they are."""
        return self.decoder.query_feat.weight

    @property
    def answers(self) -> tuple[str, ...]:
        """The outputs that ``tasks`` switches on."""
        return tuple(task for task in TASKS if getattr(self.tasks, task))

    @property
    def num_queries(self) -> int:
        """Q."""
        return self.decoder.num_queries

    def rows(self) -> tuple[Tensor, tuple[int, ...]]:
        """Text rows (S + 1, E) of the current words, void last, and the class of each text.

        No class is named where the words come from outside, each text being one.
        """
        if self.open_words is not None:
            return self.text_rows.with_void(self.open_words.text), ()
        return self.text_rows(self.vocabulary, self.templates, self.text_embedder)

    def encode_picture(self, picture: Tensor) -> EncodedPicture:
        """Find the masks of a (3, H', W') picture and embed them."""
        images = self.pad([picture], size_of(picture))
        return EncodedPicture(*self.encode(images), canvas=size_of(images), valid=size_of(picture))

    def encode_pictures(self, pictures: Sequence[Tensor]) -> list[EncodedPicture]:
        """Encode pictures that are padded to one size together, see ``Tasks.pad_together``."""
        sizes = [size_of(picture) for picture in pictures]
        if self.tasks.pad_together:
            largest = max(height for height, _ in sizes), max(width for _, width in sizes)
            padded = list(self.pad(pictures, largest))
        else:
            padded = [self.pad([p], size)[0] for p, size in zip(pictures, sizes, strict=True)]
        encoded: list[tuple[Prediction, Tensor, Tensor, Tensor]]
        encoded = encode_by_shape(self.encode, padded)
        return [
            EncodedPicture(*own, canvas=size_of(images), valid=size)
            for own, images, size in zip(encoded, padded, sizes, strict=True)
        ]

    def encoder_inputs(self, picture: Tensor) -> list[Tensor]:
        """The one padded picture that the tower is shown."""
        return [self.pad([picture], size_of(picture))]

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
        low = fit_masks(masks.detach(), size_of(dense))
        return low, self.encoder.embed_masks(dense, low, mask_pool)

    def score_picture(self, encoded: EncodedPicture, size: Size) -> MaskScores:
        """Score the masks for the current words."""
        tasks = self.tasks
        return MaskScores(
            self.classify(encoded)[0],
            encoded.prediction.masks[0],
            encoded.canvas,
            encoded.valid,
            size,
            logits_first=tasks.panoptic or tasks.instance or tasks.logits_first,
        )

    def open_embeddings(self) -> Tensor:
        """(K, E) unit embeddings; see ``Segmenter.open_embeddings``."""
        refuse_synonyms(self.vocabulary)
        return self.rows()[0][:-1]

    def open_labels(self, pictures: Tensor, size: Size) -> Tensor:
        """Find the masks of several pictures and score them; see ``Segmenter.open_labels``."""
        images = self.open_pad(pictures)
        canvas, valid = size_of(images), size_of(pictures)
        encoded = EncodedPicture(*self.encode(images), canvas=canvas, valid=valid)
        tasks = self.tasks
        return open_mask_labels(
            self.classify(encoded),
            encoded.prediction.masks,
            size,
            canvas=canvas,
            valid=valid,
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
        return class_scores(embedding, rows, index, self.clip.parts.logit_scale)

    def head_outputs(self, predictions: Sequence[Prediction]) -> list[HeadOutput]:
        """Score all heads against the training words."""
        rows, index = self.rows()
        return [HeadOutput(self.trained_scores(p, rows, index), p.masks) for p in predictions]

    def postprocess(self, scores: Scores) -> dict[str, Any]:
        """Make the outputs that ``tasks`` asks for of what ``score_picture`` gave."""
        assert isinstance(scores, MaskScores)
        tasks = self.tasks
        result: dict[str, Any] = super().postprocess(scores) if tasks.semantic else {}
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
        """Translate a published checkpoint; refuse one of other classes or of another CLIP."""
        return published_weights(self, tensors, classes=len(self.trained_words))
