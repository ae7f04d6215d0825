"""MAFT+: the trunk of CLIP is tuned to respect masks, and the text rows look at the picture.

Everything is trained at once; there is no second stage. Gradients: the set criterion reaches the
head and the void row, the mask-aware loss the trunk and the transfer, the compensation the trunk
alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor

from ovs_core.clip import ClipIdentity
from ovs_core.clip.conv_encoder import ConvEncoder
from ovs_core.errors import UserError, check_choice
from ovs_core.modeling.per_picture import draw_per_picture

from .build import maftplus_arguments
from .compensation import Compensation
from .ensemble import class_probabilities, with_void
from .mask_aware_loss import mask_aware_loss
from .mask_segmenter import EncodedPicture, MaskSegmenter
from .transfer import ContentTransfer, dense_embedding

DROP_PATHS = ("none", "teacher", "both", "published")


@META_ARCH_REGISTRY.register()
class MAFTPlus(MaskSegmenter):
    """The method.

    Args:
        transfer: content-dependent transfer of the text rows; None compares with the rows as they
            are.
        build_teacher: gives the image tower of the CLIP that training started from; called when
            training begins, so that evaluation never loads a second CLIP.
        compensation: representation compensation.
        compensation_weight: factor on it; at 0 there is none, and no teacher either.
        mask_aware_weight: factor on the mask-aware loss.
        tuned: whether the trunk is trained; a frozen one needs no compensation.
        drop_path: whose stochastic depth is active in training: ``none``, ``teacher``, ``both``,
            or ``published``, the teacher's at first and both from ``drop_path_switch`` on.
        drop_path_switch: iteration.
        segmenter: arguments of ``MaskSegmenter``.
    """

    @configurable
    def __init__(
        self,
        *,
        transfer: ContentTransfer | None,
        build_teacher: Callable[[ClipIdentity], ConvEncoder],
        compensation: Compensation | None = None,
        compensation_weight: float = 0.1,
        mask_aware_weight: float = 1.0,
        tuned: bool = True,
        drop_path: str = "none",
        drop_path_switch: int = 5000,
        **segmenter: Any,
    ) -> None:
        super().__init__(**segmenter)
        check_choice("MODEL.MAFTPLUS.DROP_PATH", drop_path, DROP_PATHS)
        if self.encoder.is_resnet:
            raise UserError(
                "MAFT+ projects single cells, which a ResNet CLIP cannot; set CLIP.ARCHITECTURE "
                "to a ConvNeXt (convnext_base_w_320, convnext_large_d_320, embedded-convnext)"
            )
        self.transfer = transfer
        self._build_teacher = build_teacher
        self._teacher: ConvEncoder | None = None
        self.compensation = compensation or Compensation()
        self.compensation_weight = compensation_weight if tuned else 0.0
        self.mask_aware_weight = mask_aware_weight
        self.drop_path = drop_path
        self.drop_path_switch = drop_path_switch
        for module in self.encoder.trunk_modules():
            module.requires_grad_(tuned)
            draw_per_picture(module)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Build the parts, see ``build.py``."""
        return maftplus_arguments(cfg)

    @property
    def teacher(self) -> ConvEncoder:
        """The frozen original trunk, loaded when first asked for."""
        if self._teacher is None:
            self._teacher = self._build_teacher(self.clip.identity)
            tower = self._teacher.visual.to(self.device).requires_grad_(False)
            tower.train(self.drop_path != "none")
            draw_per_picture(tower)
        return self._teacher

    @property
    def has_teacher(self) -> bool:
        """Whether the second CLIP is in memory."""
        return self._teacher is not None

    def train(self, mode: bool = True) -> MAFTPlus:
        """Switch the mode; the trunk is stochastic only as ``drop_path`` says."""
        super().train(mode)
        stochastic = mode and self.is_stochastic
        for module in self.encoder.trunk_modules() if stochastic else ():
            module.train()
        return self

    @property
    def is_stochastic(self) -> bool:
        """Whether the trunk's own stochastic depth is active in a training step of now."""
        if self.drop_path != "published":
            return self.drop_path == "both"
        return has_event_storage() and get_event_storage().iter >= self.drop_path_switch

    def losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Set criterion, mask-aware loss and representation compensation."""
        self.train()  # the step may be the first with a stochastic trunk
        images = self.batch(batched_inputs)
        features = self.encoder(images)
        dense = features["dense"]
        detached = {name: value.detach() for name, value in features.items()}
        if self.is_stochastic:  # published: the head sees another random pass of the trunk
            with torch.no_grad():
                detached = self.encoder(images)
        heads = self.decoder(self.pixel_decoder(detached), every_head=True)
        targets = self.targets(batched_inputs, images)
        losses = self.criterion(self.head_outputs(heads), targets, self.part)
        scores = self.transferred_scores(dense, heads[-1].masks)
        losses["ranking_loss"] = self.mask_aware_weight * mask_aware_loss(
            scores,
            heads[-1].masks,
            targets,
            None if self.part is None else self.part.count("segments"),
        )
        if self.compensation_weight:
            with torch.no_grad():
                original = self.teacher(images)["dense"]
            losses["rc_loss"] = self.compensation_weight * self.compensation(dense, original)
        return losses

    def transferred_scores(
        self, dense: Tensor, masks: Tensor, embedding: Tensor | None = None
    ) -> Tensor:
        """Score CLIP's mask embeddings against text rows that have seen the picture.

        Args:
            dense: (B, C, h, w) trunk features.
            masks: (B, Q, h', w') mask logits.
            embedding: (B, Q, E) mask embeddings, if they are known already.

        Returns:
            (B, Q, K + 1), void last.
        """
        rows, index = self.rows()
        if embedding is None:
            embedding = self.embed_masks(dense, masks)[1]
        return self.clip_scores(embedding, self.transferred_rows(dense, rows), index)

    def transferred_rows(self, dense: Tensor, rows: Tensor) -> Tensor:
        """Adapt (S + 1, E) text rows to the pictures of ``dense``: (B, S + 1, E)."""
        if self.transfer is None:
            return rows.expand(dense.shape[0], -1, -1)
        return self.transfer(
            dense_embedding(self.encoder, dense, layout=self.transfer.layout), rows
        )

    def classify(self, encoded: EncodedPicture) -> Tensor:
        """Classify by CLIP's own scores; the trained embedding says how likely "nothing" is."""
        rows, index = self.rows()
        own = self.transferred_scores(
            encoded.dense, encoded.prediction.masks, encoded.mask_embedding
        )
        trained = self.trained_scores(encoded.prediction, rows, index)
        return with_void(class_probabilities(own), trained)
