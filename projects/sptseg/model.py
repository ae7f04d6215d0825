"""SPT-SEG and ZegCLIP as one meta-architecture; the config decides which parts are plugged in.

Letters: B pictures, K classes, N = h * w patches, D joint width, H x W pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor
from torch.nn import functional as F

from ovs_core.errors import UserError, nearest
from ovs_core.modeling.build import segmenter_arguments
from ovs_core.modeling.contract import Words
from ovs_core.modeling.label_argmax import argmax_upsample
from ovs_core.modeling.losses import MaskLoss
from ovs_core.modeling.scores import Scores, Size, WindowScores
from ovs_core.modeling.segmenter import Segmenter

from .build import build_decoder, build_encoder
from .decoder import MaskDecoder
from .prompts import PromptedEncoder
from .published import rename_published
from .split import IGNORE, MODES, UNSEEN, ClassSplit
from .window_scores import ProbabilityWindows

logger = logging.getLogger(__name__)

IMAGENET_MEAN = (123.675, 116.28, 103.53)  # RGB
IMAGENET_STD = (58.395, 57.12, 57.375)
STATISTICS = ("imagenet", "clip")
TEST_CLASSES = ("all", "unseen")
NEVER = 2.0  # more than any probability


@META_ARCH_REGISTRY.register()
class SPTSeg(Segmenter):
    """Prompted CLIP tower and mask decoder, trained one stage, each class against the rest.

    Args:
        encoder: image tower with prompts.
        decoder: mask decoder.
        loss: of masks against labels.
        mode: ``inductive``, ``transductive`` or ``fully``.
        crop: side of training crops in pixels.
        seen_bias: taken off the probabilities of seen classes at test, unless transductive.
        test_classes: ``all``, or ``unseen`` to choose among unseen classes only.
        seen: names of the seen classes; empty for the data set's split.
        unseen: names of the unseen classes; empty for the data set's split.
        statistics: ``imagenet`` or ``clip`` pixel statistics.
        empty_batch_negatives: whether a batch without a labelled pixel trains negatives.
        accuracy_period: iterations between logged accuracies; 0 for never.
        segmenter: arguments of ``Segmenter``.
    """

    @configurable
    def __init__(
        self,
        *,
        encoder: PromptedEncoder,
        decoder: MaskDecoder,
        loss: MaskLoss,
        mode: str = "inductive",
        crop: int = 512,
        seen_bias: float = 0.1,
        test_classes: str = "all",
        seen: Sequence[str] = (),
        unseen: Sequence[str] = (),
        statistics: str = "imagenet",
        empty_batch_negatives: bool = False,
        accuracy_period: int = 20,
        segmenter: dict[str, Any],
    ) -> None:
        super().__init__(**segmenter)
        _check_choice("MODE", mode, MODES)
        _check_choice("PIXEL_STATISTICS", statistics, STATISTICS)
        _check_choice("TEST_CLASSES", test_classes, TEST_CLASSES)
        self.encoder, self.decoder = encoder, decoder
        self.loss, self.mode, self.crop = loss, mode, crop
        self.seen_bias = 0.0 if mode == "transductive" else seen_bias
        if test_classes == "unseen":
            self.seen_bias = NEVER
        self.stated_seen, self.stated_unseen = tuple(seen), tuple(unseen)
        self.empty_batch_negatives = empty_batch_negatives
        self.accuracy_period = accuracy_period
        mean, std = IMAGENET_MEAN, IMAGENET_STD
        if statistics == "clip":
            mean, std = self.clip.pixel_mean.flatten(), self.clip.pixel_std.flatten()
        for name, values in (("pixel_mean", mean), ("pixel_std", std)):
            buffer = torch.as_tensor(values, dtype=torch.float32).view(3, 1, 1)
            self.register_buffer(name, buffer.to(self.device), persistent=False)
        self.to(self.device)
        self._split: ClassSplit | None = None
        self._said_unseen = False

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read ``MODEL.SPTSEG``."""
        node, loss = cfg.MODEL.SPTSEG, cfg.MODEL.SPTSEG.LOSS
        segmenter = segmenter_arguments(cfg)
        return {
            "segmenter": segmenter,
            "encoder": build_encoder(node, segmenter["clip"]),
            "decoder": build_decoder(node, segmenter["clip"].embed_dim),
            "loss": MaskLoss(
                focal=loss.FOCAL,
                dice=loss.DICE,
                ssim=loss.SSIM,
                alpha=loss.FOCAL_ALPHA,
                gamma=loss.FOCAL_GAMMA,
                ssim_on=loss.SSIM_ON,
            ),
            "mode": node.MODE,
            "crop": node.CROP,
            "seen_bias": node.SEEN_BIAS,
            "test_classes": node.TEST_CLASSES,
            "seen": node.SEEN,
            "unseen": node.UNSEEN,
            "statistics": node.PIXEL_STATISTICS,
            "empty_batch_negatives": loss.EMPTY_BATCH_NEGATIVES,
            "accuracy_period": loss.ACCURACY_PERIOD,
        }

    @property
    def split(self) -> ClassSplit:
        """Seen and unseen classes of the current words."""
        if self._split is None:
            names = self.vocabulary.names
            if self.stated_seen or self.stated_unseen:
                self._split = ClassSplit.from_names(names, self.stated_seen, self.stated_unseen)
            else:
                self._split = ClassSplit.from_unseen(self.unseen, len(names))
        return self._split

    def set_vocabulary(
        self, words: Words, *, unseen: Sequence[int] = (), outside: Sequence[int] = ()
    ) -> None:
        """Choose the words and which of them are unseen; see ``Segmenter.set_vocabulary``."""
        super().set_vocabulary(words, unseen=unseen, outside=outside)
        self._split = None

    def normalize(self, picture: Tensor) -> Tensor:
        """Bring RGB values in 0..255 to the published statistics."""
        return (picture.to(self.device).float() - self.pixel_mean) / self.pixel_std

    def encode(self, images: Tensor) -> tuple[Tensor, list[Any], tuple[int, int]]:
        """(B, 3, h, w) -> CLS features, the decoder layers' memories, and the grid."""
        cls, patches = self.encoder(images)
        return cls, self.decoder.memories(patches), tuple(patches.shape[-2:])

    def score(self, features: tuple[Tensor, list[Any], tuple[int, int]]) -> Tensor:
        """Features -> (B, K, h, w) mask logits of the current words."""
        return self.masks(features, self.text_features())

    def masks(self, features: tuple[Tensor, list[Any], tuple[int, int]], text: Tensor) -> Tensor:
        """Features and (K, D) class embeddings -> (B, K, h, w) mask logits."""
        cls, memories, grid = features
        return self.decoder(cls, memories, text).unflatten(-1, grid)

    def activate(self, maps: Tensor, which: slice) -> Tensor:
        """Probabilities, with the bias taken off the seen classes."""
        seen = torch.tensor(self.split.seen, device=maps.device)
        seen = seen[(seen >= which.start) & (seen < which.stop)] - which.start
        return seen_biased(maps, seen, self.seen_bias)

    def score_picture(self, encoded: Any, size: Size) -> Scores:
        """Scores of an encoded picture; windows with this method's activation built in."""
        scores = super().score_picture(encoded, size)
        if type(scores) is not WindowScores:
            return scores
        seen = torch.zeros(self.split.count, dtype=torch.bool, device=self.device)
        seen[list(self.split.seen)] = True
        parts = {field.name: getattr(scores, field.name) for field in fields(scores)}
        return ProbabilityWindows(**parts, seen=seen, bias=self.seen_bias)

    def losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Weighted losses of a batch; see ``Segmenter.losses``.

        Raises:
            UserError: if a label is out of range.
        """
        images, labels = self._batch(batched_inputs)
        logits = self.masks(self.encode(images), self.trained_text())
        labels = self.targets(labels, logits)
        self._log_accuracy(logits, labels)
        if not self.empty_batch_negatives and bool((labels == IGNORE).all()):
            logger.warning("a batch without one labelled pixel: its loss is zero")
            return {"loss_focal": logits.sum() * 0.0}
        return self.loss(logits, labels)

    def trained_text(self) -> Tensor:
        """(K', D) embeddings of the classes whose masks are trained."""
        text = self.text_features()
        return text[self.split.trained_classes(self.mode).to(text.device)]

    def targets(self, labels: Tensor, logits: Tensor) -> Tensor:
        """Labels as the losses see them, by the training mode.

        Args:
            labels: (B, H, W) of the data set.
            logits: (B, K', h, w) current masks, for pseudo labels.
        """
        labels = self.split.map_labels(labels, self.mode)
        if self.mode == "transductive" and self.split.unseen:
            return self.split.fill_unseen(labels, logits)
        hidden = labels == UNSEEN
        if not self._said_unseen and bool(hidden.any()):
            logger.warning(
                "training labels hold pixels of unseen classes (%d in this batch); inductive "
                "training ignores them",
                int(hidden.sum()),
            )
            self._said_unseen = True
        return labels.masked_fill(hidden, IGNORE)

    def rename_published(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Bring the names of a published checkpoint to this model's; see ``published``."""
        return rename_published(tensors)

    def _batch(self, batched_inputs: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
        """Normalise, then pad right and below to one size: pictures with 0, labels with 255."""
        sides = [one["image"].shape[-2:] for one in batched_inputs]
        height, width = (max(self.crop, *(side[i] for side in sides)) for i in range(2))
        images, labels = [], []
        for one, (h, w) in zip(batched_inputs, sides, strict=True):
            padding = (0, width - w, 0, height - h)
            images.append(F.pad(self.normalize(one["image"]), padding))
            labels.append(F.pad(one["sem_seg"].to(self.device), padding, value=IGNORE))
        return torch.stack(images), torch.stack(labels)

    def _log_accuracy(self, logits: Tensor, labels: Tensor) -> None:
        """Log the share of labelled pixels whose best mask is right, in percent."""
        if not (self.accuracy_period and has_event_storage()):
            return
        storage = get_event_storage()
        if storage.iter % self.accuracy_period == 0:
            storage.put_scalar("pixel_accuracy", float(pixel_accuracy(logits, labels)))


def seen_biased(maps: Tensor, seen: Tensor, bias: float) -> Tensor:
    """Logits (..., K, H, W) -> probabilities, with ``bias`` taken off the ``seen`` classes."""
    probabilities = torch.sigmoid(maps)
    if bias:
        probabilities[..., seen, :, :] -= bias
    return probabilities


@torch.no_grad()
def pixel_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Percent of labelled pixels (not 255) whose best mask is their label's; NaN without any."""
    size = tuple(labels.shape[-2:])
    found = argmax_upsample(logits, size)
    labelled = labels != IGNORE
    return 100 * ((found == labels) & labelled).sum() / labelled.sum()


def _check_choice(key: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UserError(
            f"MODEL.SPTSEG.{key}: '{value}' is none of {', '.join(choices)}."
            f"{nearest(value, choices)}"
        )
