"""The base of every method: words in, pictures in, labelled pixels out.

Letters: B pictures, K classes, D joint width, H x W original picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar, TypedDict

import torch
from detectron2.config import CfgNode
from torch import Tensor

from ..clip import CLIP, ImageEncoder, TextEmbedder, TextEncoder
from ..errors import UserError, check_choice
from ..words.vocabulary import Vocabulary
from .contract import OpenVocabularyModel
from .open_words import OpenWords
from .protocols import InferenceProtocol, Whole
from .runtime_rule import RuntimeRule
from .scores import Scores, Size, WindowScores, size_of

OUTPUTS = ("labels", "scores")


class _Needed(TypedDict):
    clip: CLIP
    templates: Sequence[str]


class SegmenterArguments(_Needed, total=False):
    """What a method's constructor hands on to ``Segmenter`` (``**segmenter``).

    ``text_cache`` is not among them: a method, not its caller, decides it.
    """

    protocol: InferenceProtocol | None
    output: str


class Segmenter(OpenVocabularyModel):
    """Base meta-architecture.

    A method implements ``encode`` (pictures -> features) and ``score`` (features -> logits), and
    ``losses`` if it trains; one that decides per region overrides ``segment``.

    Args:
        clip: the CLIP it stands on.
        templates: prompts with one ``{}``.
        protocol: how pictures are shown to the network at test time.
        output: ``"labels"`` to return label maps only, ``"scores"`` for full (K, H, W) maps.
        text_cache: whether text embeddings may be cached; off for a method that trains the text
            tower.

    Attributes:
        engine_parts: names of the methods that an engine may run in place of PyTorch: functions of
            tensors alone, whose first argument and result have the pictures first.
        runtime: which engine does.
    """

    engine_parts: ClassVar[tuple[str, ...]] = ("encode",)
    runtime = RuntimeRule()

    def __init__(
        self,
        *,
        clip: CLIP,
        templates: Sequence[str],
        protocol: InferenceProtocol | None = None,
        output: str = "labels",
        text_cache: bool = True,
    ) -> None:
        super().__init__()
        check_choice("MODEL.OVS.OUTPUT", output, OUTPUTS)
        self.clip = clip
        self.templates = tuple(templates)
        self.protocol = protocol or Whole()
        self.output = output
        self.text_encoder = TextEncoder(clip)
        self.text_embedder = TextEmbedder(self.text_encoder) if text_cache else None
        self._fixed_text: tuple[Vocabulary, Tensor] | None = None
        self.open_words: OpenWords | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        """A method trains if it has losses."""
        super().__init_subclass__(**options)
        cls.trains = cls.losses is not Segmenter.losses

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.clip.pixel_mean.device

    def text_features(self) -> Tensor:
        """Text features of the current words, as ``encode_words`` gives them."""
        if self.open_words is not None:
            return self.open_words.text
        if self._fixed_text is not None and self._fixed_text[0] is self.vocabulary:
            return self._fixed_text[1]
        return self.encode_words()

    def fix_text(self) -> None:
        """Keep the text features of the current words as the one tensor that a program needs."""
        self._fixed_text = (self.vocabulary, self.text_features())

    def protocol_text(self) -> str:
        """The protocol's values."""
        return repr(self.protocol)

    def encode_words(self) -> Tensor:
        """(K, D) unit class embeddings of the current words from the frozen text tower, cached."""
        if self.text_embedder is None:
            raise UserError("this method trains its text tower and must encode the words itself")
        return self.text_embedder.classes(self.vocabulary, self.templates)

    def forward(
        self, batched_inputs: list[dict[str, Any]]
    ) -> dict[str, Tensor] | list[dict[str, Any]]:
        """Train or segment.

        Args:
            batched_inputs: Detectron2's list of dicts: ``image`` (3, H', W') RGB in 0..255,
                ``height`` and ``width`` of the original, in training ``sem_seg`` (H', W'); optional
                ``vocabulary`` that overrides the current words for this picture.

        Returns:
            In training a dict of losses. Else per picture a dict with ``sem_seg_labels`` (H, W)
            int64, or ``sem_seg`` (K, H, W) when full scores were asked for.
        """
        if self.training:
            return self.losses(batched_inputs)
        with torch.no_grad():
            if len(batched_inputs) == 1 or any("vocabulary" in one for one in batched_inputs):
                return [self._output(one) for one in batched_inputs]
            encoded = self.encode_pictures([one["image"] for one in batched_inputs])
            return [
                self.postprocess(self.score_picture(own, output_size(one)))
                for own, one in zip(encoded, batched_inputs, strict=True)
            ]

    def losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Compute the training losses of a batch.

        Raises:
            UserError: if the method does not train.
        """
        raise UserError(f"{type(self).__name__} is training-free; use --eval-only")

    def segment_input(self, one: dict[str, Any]) -> Scores:
        """Segment the picture of an input dict, see ``forward``; some methods read more of it."""
        return self.segment(one["image"], output_size(one))

    def segment(self, picture: Tensor, size: Size) -> Scores:
        """Segment one picture with the current words.

        Args:
            picture: (3, H', W') RGB in 0..255.
            size: (H, W) of the result.
        """
        return self.score_picture(self.encode_picture(picture), size)

    def encode_picture(self, picture: Tensor) -> Any:
        """Everything about a (3, H', W') picture that can be reused for other words."""
        return self.protocol.encode(self, self.normalize(picture))

    def encode_pictures(self, pictures: Sequence[Tensor]) -> list[Any]:
        """``encode_picture`` of several; those that are shown at one size in one batch.

        A method that encodes a picture in a way of its own says here how several go together; until
        it does, they go one by one.

        Args:
            pictures: (3, H', W') RGB in 0..255 each.
        """
        if type(self).encode_picture is not Segmenter.encode_picture:
            return [self.encode_picture(picture) for picture in pictures]
        return self.protocol.encode_all(self, [self.normalize(picture) for picture in pictures])

    def score_picture(self, encoded: Any, size: Size) -> Scores:
        """Scores of an encoded picture for the current words at (H, W)."""
        return self.protocol.score(self, encoded, size)

    def normalize(self, picture: Tensor) -> Tensor:
        """Bring RGB values to the network's statistics; CLIP's by default."""
        return self.clip.normalize(picture.to(self.device, non_blocking=True))

    def encode(self, images: Tensor) -> Any:
        """(B, 3, h, w) normalised pictures -> features that do not depend on the words."""
        raise NotImplementedError(f"{type(self).__name__}.encode")

    def score(self, features: Any) -> Tensor:
        """Features -> (B, K, h', w') logits for the current words."""
        raise NotImplementedError(f"{type(self).__name__}.score")

    def activate(self, maps: Tensor, which: slice) -> Tensor:
        """What is averaged over windows and compared between classes; by default the logits."""
        return maps

    def finish_windows(self, windows: WindowScores) -> Scores:
        """Scores of a picture from its windows' logits; by default their activated mean."""
        return windows

    def shortcut(self) -> str:
        """Say what the config leaves out at test time for speed, as KEY VALUE; ``""`` if nothing.

        ``without_shortcut`` must let it be measured.
        """
        return ""

    def without_shortcut(self) -> AbstractContextManager[None]:
        """Let a block compute what ``shortcut`` leaves out, too."""
        return nullcontext()

    def engine_obstacle(self) -> str:
        """Say why no engine can run this model's ``engine_parts``; ``""`` if one can."""
        if type(self).encode is Segmenter.encode:
            return "no single network encodes its pictures"
        return ""

    def export_obstacle(self) -> str:
        """Say why this model is no fixed function of the picture; ``""`` if it is one.

        A model that can be written as one program answers ``""``; others name the reason and, if
        there is one, the setting that can be exported.
        """
        return ""

    def open_obstacle(self) -> str:
        """Say why this model cannot be a program whose words come when it runs; ``""`` if it can.

        By default a method that encodes pictures in a way of its own cannot, until it says in
        ``open_labels`` how several of them are labelled.
        """
        own_way = type(self).encode_picture is not Segmenter.encode_picture
        if own_way and type(self).open_labels is Segmenter.open_labels:
            return "its pictures and words cannot be told apart in one program"
        return self.export_obstacle()

    def open_embeddings(self) -> Tensor:
        """Embeddings of the current words as a program of any words takes them: (K, ...).

        Raises:
            UserError: if the method knows these words by more than one embedding each.
        """
        return self.text_features()

    def open_seen(self) -> Tensor | None:
        """(K,) bool, which of the current words training had; None if labels do not tell."""
        return None

    def open_labels(self, pictures: Tensor, size: Size) -> Tensor:
        """Label pictures with ``open_words``; what ``segment`` does, as a program of any words.

        Args:
            pictures: (B, 3, H', W') RGB in 0..255; the sides may be symbols.
            size: (H, W) of the result, symbols.

        Returns:
            (B, H, W) int64.
        """
        return self.protocol.open_labels(self, self.normalize(pictures), size)

    def export_own(self, path: Path, cfg: CfgNode) -> Callable[[Tensor], Tensor]:
        """Write the method's own file with the current words, and read it back.

        It is for a method of which a part runs alone, for pictures of any size.

        Args:
            path: file to write, a ``.pth``.
            cfg: that the model was built from.

        Returns:
            What was read: a (3, H, W) RGB picture in 0..255 -> its labels (H, W) int64.

        Raises:
            UserError: if the method has no such file.
        """
        raise UserError(f"{type(self).__name__} has no file of its own; write a .pt2 or .onnx file")

    def encoder_inputs(self, picture: Tensor) -> list[Tensor]:
        """The normalised batches (b, 3, h, w) that the network is shown of a (3, H', W') picture.

        By default what ``encode`` gets; a method that shows something else says here what.
        """
        watched = _Watched(self)
        self.protocol.encode(watched, self.normalize(picture))
        return watched.batches

    def bare_forward(self, images: Tensor) -> Any:
        """Run the network that this method stands on, and nothing else: the floor of a benchmark.

        Args:
            images: (B, 3, h, w) normalised pictures, one of ``encoder_inputs``.
        """
        return ImageEncoder(self.clip.visual, accepts="any")(images)

    def postprocess(self, scores: Scores) -> dict[str, Tensor]:
        """Turn scores into the output dict."""
        if self.output == "scores":
            return {"sem_seg": scores.full()}
        return {"sem_seg_labels": scores.labels()}

    def _output(self, one: dict[str, Any]) -> dict[str, Tensor]:
        if "vocabulary" not in one:
            return self.postprocess(self.segment_input(one))
        words, unseen, outside = self._vocabulary, self.unseen, self.outside
        self.set_vocabulary(one["vocabulary"])
        try:
            return self.postprocess(self.segment_input(one))
        finally:
            if words is not None:
                self.set_vocabulary(words, unseen=unseen, outside=outside)


class _Watched:
    """What a protocol sees of a method, with the batches that were encoded."""

    def __init__(self, model: Segmenter) -> None:
        self.batches: list[Tensor] = []
        self.score, self.activate = model.score, model.activate
        self.finish_windows = model.finish_windows

    def encode(self, images: Tensor) -> None:
        """Keep the batch; nothing needs its features."""
        self.batches.append(images)


def output_size(one: dict[str, Any]) -> Size:
    """(H, W) that the labels of an input dict are asked for at: stated, or the picture's own."""
    height, width = size_of(one["image"])
    return one.get("height", height), one.get("width", width)
