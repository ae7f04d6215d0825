"""SPT-SEG and ZegCLIP as one meta-architecture; the config decides which parts are plugged in.

Letters: B pictures, K classes, N = h * w patches, D joint width, H x W pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor
from typing_extensions import Unpack

from ovs_core.errors import check_choice
from ovs_core.modeling.contract import Words
from ovs_core.modeling.global_batch import Facts, largest_size
from ovs_core.modeling.label_argmax import argmax_upsample
from ovs_core.modeling.losses import MaskLoss, present_classes
from ovs_core.modeling.padding import stack_padded
from ovs_core.modeling.pixel_statistics import PixelStatistics
from ovs_core.modeling.scores import Scores, Size, WindowScores, size_of
from ovs_core.modeling.segmenter import Segmenter, SegmenterArguments
from ovs_core.tensor.placing import place
from ovs_core.words.label_space import IGNORE, UNSEEN

from .build import sptseg_arguments
from .decoder import GATES, MaskDecoder
from .prompts import PromptedEncoder
from .published import rename_published
from .split import MODES, TrainedSplit
from .window_scores import ProbabilityWindows, seen_biased

logger = logging.getLogger(__name__)

TEST_CLASSES = ("all", "unseen")
NEVER = 2.0  # more than any probability


class Features(NamedTuple):
    """Pictures before any word.

    Attributes:
        cls: (B, D) unit CLS features.
        memories: what the queries of each decoder layer look at.
        grid: (h, w).
    """

    cls: Tensor
    memories: list[Any]
    grid: Size


@META_ARCH_REGISTRY.register()
class SPTSeg(Segmenter):
    """Prompted CLIP tower and mask decoder, trained one stage, each class against the rest.

    Args:
        encoder: image tower with prompts.
        decoder: mask decoder.
        loss: of masks against labels.
        statistics: brings pictures to the tower; default ImageNet's, as published.
        mode: ``inductive``, ``transductive`` or ``fully``.
        crop: side of training crops in pixels.
        seen_bias: taken off the probabilities of seen classes at test, unless transductive.
        test_classes: ``all``, or ``unseen`` to choose among unseen classes only.
        seen: names of the seen classes; empty for the dataset's split.
        unseen: names of the unseen classes; empty for the dataset's split.
        empty_batch_negatives: whether a batch without a labelled pixel trains negatives.
        accuracy_period: iterations between logged accuracies; 0 for never.
        gate: where the gates of a spectral decoder start: ``random``, or ``patches`` for the mean
            patch of the first batch.
        segmenter: arguments of ``Segmenter``.
    """

    engine_parts = ("encode", "masks")

    @configurable
    def __init__(
        self,
        *,
        encoder: PromptedEncoder,
        decoder: MaskDecoder,
        loss: MaskLoss,
        statistics: PixelStatistics | None = None,
        mode: str = "inductive",
        crop: int = 512,
        seen_bias: float = 0.1,
        test_classes: str = "all",
        seen: Sequence[str] = (),
        unseen: Sequence[str] = (),
        empty_batch_negatives: bool = False,
        accuracy_period: int = 20,
        gate: str = "random",
        **segmenter: Unpack[SegmenterArguments],
    ) -> None:
        super().__init__(**segmenter)
        check_choice("MODEL.SPTSEG.MODE", mode, MODES)
        check_choice("MODEL.SPTSEG.TEST_CLASSES", test_classes, TEST_CLASSES)
        check_choice("MODEL.SPTSEG.DECODER.GATE", gate, GATES)
        self.encoder, self.decoder = encoder, decoder
        self.statistics = statistics or PixelStatistics()
        self.loss, self.mode, self.crop = loss, mode, crop
        self.seen_bias = 0.0 if mode == "transductive" else seen_bias
        if test_classes == "unseen":
            self.seen_bias = NEVER
        self.stated_seen, self.stated_unseen = tuple(seen), tuple(unseen)
        self.empty_batch_negatives = empty_batch_negatives
        self.accuracy_period = accuracy_period
        self.to(self.device)
        self._split: TrainedSplit | None = None
        self._said_unseen = False
        self.gate, self._started, self._said_closed = gate, False, False

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Build the parts of ``MODEL.SPTSEG``; see ``build``."""
        return sptseg_arguments(cfg)

    @property
    def split(self) -> TrainedSplit:
        """Seen and unseen classes of the current words."""
        if self._split is None:
            names = self.vocabulary.names
            if self.stated_seen or self.stated_unseen:
                self._split = TrainedSplit.from_names(names, self.stated_seen, self.stated_unseen)
            else:
                self._split = TrainedSplit.from_unseen(self.unseen, len(names))
        return self._split

    def set_vocabulary(
        self, words: Words, *, unseen: Sequence[int] = (), outside: Sequence[int] = ()
    ) -> None:
        """Choose the words and which of them are unseen; see ``Segmenter.set_vocabulary``."""
        super().set_vocabulary(words, unseen=unseen, outside=outside)
        self._split = None

    def normalize(self, picture: Tensor) -> Tensor:
        """Bring RGB values in 0..255 to the published statistics."""
        return self.statistics(picture)

    def encode(self, images: Tensor) -> Features:
        """Encode (B, 3, H, W) normalised pictures."""
        cls, patches = self.encoder(images)
        if self.starting:
            self._open_gates(patches)
        return Features(cls, self.decoder.memories(patches), size_of(patches))

    def score(self, features: Features) -> Tensor:
        """Give (B, K, h, w) mask logits of the current words."""
        return self.masks(features, self.text_features())

    def masks(self, features: Features, text: Tensor) -> Tensor:
        """Give (B, K, h, w) mask logits of (K, D) class embeddings."""
        logits = self.decoder(features.cls, features.memories, text)
        return logits.unflatten(-1, features.grid)

    def activate(self, maps: Tensor, which: slice) -> Tensor:
        """Probabilities, with the bias taken off the seen classes."""
        if self.open_words is not None:  # nobody says which are unseen: all carry one bias
            return torch.sigmoid(maps)
        return seen_biased(maps, self.seen_mask()[which], self.seen_bias)

    def finish_windows(self, windows: WindowScores) -> Scores:
        """Scores that compare one window's masks without all their probabilities."""
        return ProbabilityWindows(windows, self.seen_mask(), self.seen_bias)

    def open_obstacle(self) -> str:
        """Words that the config names cannot come later."""
        if self.stated_seen or self.stated_unseen:
            return "MODEL.SPTSEG.SEEN and UNSEEN name its words; set both to []"
        return super().open_obstacle()

    def seen_mask(self) -> Tensor:
        """(K,) bool, which of the current classes are seen."""
        seen = set(self.split.seen)
        return place([k in seen for k in range(self.split.count)], self.device)

    def losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Weighted losses of a batch; see ``Segmenter.losses``.

        Raises:
            UserError: if a label is out of range.
        """
        images, labels = self._batch(batched_inputs)
        features = self.encode(images)
        self._watch_gates(features.memories)
        logits = self.masks(features, self.trained_text())
        labels = self.targets(labels, logits)
        self._log_accuracy(logits, labels)
        if not self.empty_batch_negatives and not self._labelled(labels):
            logger.warning("a batch without one labelled pixel: its loss is zero")
            return {"loss_focal": logits.sum() * 0.0}
        return self.loss(logits, labels, None if self.part is None else self.part.count("pairs"))

    @property
    def starting(self) -> bool:
        """Whether the gates are still to be opened by the first step of a training."""
        if not self.training or self.gate != "patches" or self._started:
            return False
        resumed = has_event_storage() and get_event_storage().iter > 0  # they have learnt since
        return not resumed and bool(self.decoder.gates())

    @torch.no_grad()
    def starting_facts(self, batched_inputs: list[dict[str, Any]]) -> list[Facts]:
        """What the gates are turned towards."""
        _, patches = self.encoder(self._batch(batched_inputs)[0])
        return [{"gates": means.cpu()} for means in self._gate_means(patches)]

    def facts(self, batched_inputs: list[dict[str, Any]]) -> list[Facts]:
        """How many trained classes each picture shows, and whether a pixel is labelled.

        A transductive training finds the classes of hidden pixels by a forward pass of its own.
        """
        if self.mode == "transductive" and self.split.unseen:
            with torch.no_grad():
                images, labels = self._batch(batched_inputs)
                logits = self.masks(self.encode(images), self.trained_text())
            targets = list(self.targets(labels, logits))
        else:
            targets = [self._visible(self._mapped(one["sem_seg"])) for one in batched_inputs]
        count = len(self.split.trained_classes(self.mode))
        return [
            {
                "pairs": int(present_classes(one[None], count).sum()),
                "labelled": bool((one != IGNORE).any()),
            }
            for one in targets
        ]

    def trained_text(self) -> Tensor:
        """(K', D) embeddings of the classes whose masks are trained."""
        text = self.text_features()
        return text[self.split.trained_classes(self.mode).to(text.device, non_blocking=True)]

    def targets(self, labels: Tensor, logits: Tensor) -> Tensor:
        """Labels as the losses see them, by the training mode.

        Args:
            labels: (B, H, W) of the dataset.
            logits: (B, K', h, w) current masks, for pseudo labels.
        """
        labels = self._mapped(labels)
        if self.mode == "transductive" and self.split.unseen:
            return self.split.fill_unseen(labels, logits)
        return self._visible(labels)

    def rename_published(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Bring the names of a published checkpoint to this model's; see ``published``."""
        return rename_published(tensors)

    def _mapped(self, labels: Tensor) -> Tensor:
        return self.split.map_labels(labels, self.mode)

    def _visible(self, labels: Tensor) -> Tensor:
        """Ignore the pixels of unseen classes."""
        hidden = labels == UNSEEN
        if not self._said_unseen and bool(hidden.any()):
            logger.warning(
                "training labels hold pixels of unseen classes (%d in this batch); %s training "
                "ignores them",
                int(hidden.sum()),
                self.mode,
            )
            self._said_unseen = True
        return labels.masked_fill(hidden, IGNORE)

    def _labelled(self, labels: Tensor) -> bool:
        """Whether a pixel of the step is labelled; ``labels`` are those of this part."""
        if self.part is not None:
            return self.part.total("labelled") > 0
        return bool((labels != IGNORE).any())

    def _batch(self, batched_inputs: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
        """Normalise, pad right and below to one size: pictures with 0, labels with ``IGNORE``."""
        height, width = (max(self.crop, n) for n in largest_size(batched_inputs, self.part))
        images = [self.normalize(one["image"]) for one in batched_inputs]
        labels = [one["sem_seg"].to(self.device, non_blocking=True) for one in batched_inputs]
        return (
            stack_padded(images, (height, width)),
            stack_padded(labels, (height, width), value=IGNORE),
        )

    @torch.no_grad()
    def _open_gates(self, patches: Tensor) -> None:
        """Turn the gates towards the patches of a training's first step, (B, D, h, w) of a part."""
        if self.part is None:
            means = self._gate_means(patches).mean(dim=0)
        else:
            means = torch.stack([one["gates"] for one in self.part.facts]).mean(dim=0)
        for attention, mean in zip(self.decoder.gates(), means.to(patches.device), strict=True):
            attention.open_gate(mean)
        self._started = True

    def _gate_means(self, patches: Tensor) -> Tensor:
        """(B, D, h, w) patches -> (B, gates, D), what the gates are turned towards."""
        tokens, grid = patches.flatten(2).transpose(1, 2), size_of(patches)
        means = [attention.mixed_means(tokens, grid) for attention in self.decoder.gates()]
        return torch.stack(means, dim=1)

    def _watch_gates(self, memories: list[Any]) -> None:
        """Name, once, a gate that is closed on every patch of a batch."""
        if self._said_closed or not self.decoder.gates():
            return
        closed = [str(i) for i, memory in enumerate(memories) if not memory.any()]
        if closed:
            self._said_closed = True
            logger.warning(
                "the gate of decoder layer %s is closed on every patch of a batch: its masks and "
                "gradients are zero, and nothing is learnt through it; start with another SEED, "
                "with MODEL.SPTSEG.DECODER.GATE patches, or with a lower SOLVER.BASE_LR",
                ", ".join(closed),
            )

    def _log_accuracy(self, logits: Tensor, labels: Tensor) -> None:
        """Log the share of labelled pixels whose best mask is right, in percent."""
        if not (self.accuracy_period and has_event_storage()):
            return
        storage = get_event_storage()
        # Without a labelled pixel it is NaN, which would stay in the writers' running median.
        if storage.iter % self.accuracy_period == 0 and bool((labels != IGNORE).any()):
            storage.put_scalar("pixel_accuracy", float(pixel_accuracy(logits, labels)))


@torch.no_grad()
def pixel_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Percent of labelled pixels whose best mask is their label's; NaN without any."""
    found = argmax_upsample(logits, size_of(labels))
    labelled = labels != IGNORE
    return 100 * ((found == labels) & labelled).sum() / labelled.sum()
