"""FC-CLIP: masks on one frozen convolutional CLIP, classified twice.

Frozen CLIP features feed the mask head; a trained embedding classifies each mask (good on seen
classes), the CLIP features pooled inside it classify it again (good on unseen ones), and both are
blended geometrically.
"""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from .build import fcclip_arguments
from .ensemble import class_probabilities, geometric_ensemble, has_pixels, with_void
from .mask_segmenter import EncodedPicture, MaskSegmenter
from .texts import seen_classes


@META_ARCH_REGISTRY.register()
class FCCLIP(MaskSegmenter):
    """The method.

    Args:
        alpha: weight of CLIP's own scores on seen classes.
        beta: weight of CLIP's own scores on unseen classes.
        ensemble_on_valid_mask: use the trained scores alone for a mask without a cell at stride
            32; needed with ResNets, whose attention pooling sees nothing there.
        segmenter: arguments of ``MaskSegmenter``.
    """

    @configurable
    def __init__(
        self,
        *,
        alpha: float = 0.4,
        beta: float = 0.8,
        ensemble_on_valid_mask: bool = False,
        **segmenter: Any,
    ) -> None:
        super().__init__(**segmenter)
        self.alpha, self.beta = alpha, beta
        self.ensemble_on_valid_mask = ensemble_on_valid_mask

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Build the parts, see ``build.py``."""
        return fcclip_arguments(cfg)

    def losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Set criterion of every head; nothing of CLIP gets a gradient."""
        images = self.batch(batched_inputs)
        with torch.no_grad():
            features = self.encoder(images)
        heads = self.decoder(self.pixel_decoder(features), every_head=True)
        targets = self.targets(batched_inputs, images)
        return self.criterion(self.head_outputs(heads), targets, self.part)

    def classify(self, encoded: EncodedPicture) -> Tensor:
        """Blend both classifications."""
        rows, index = self.rows()
        trained = self.trained_scores(encoded.prediction, rows, index)
        own = self.clip_scores(encoded.mask_embedding, rows, index)
        return self.blend(trained, own, encoded.low_masks)

    def blend(self, trained: Tensor, own: Tensor, low_masks: Tensor) -> Tensor:
        """Join two scores (B, Q, K + 1) of masks (B, Q, h, w) into log-probabilities."""
        if self.alpha == 0.0 and self.beta == 0.0:
            return with_void(class_probabilities(trained), trained)
        seen = self.seen_flags()
        blended = geometric_ensemble(
            trained[..., :-1],
            own[..., :-1],
            seen,
            alpha=self.alpha,
            beta=self.beta,
            valid=has_pixels(low_masks) if self.ensemble_on_valid_mask else None,
        )
        return with_void(blended, trained)

    def open_seen(self) -> Tensor:
        """(K,) bool, whether training had the word; see ``Segmenter.open_seen``."""
        return self.seen_flags()

    def seen_flags(self) -> Tensor:
        """(K,) bool, whether training had the word."""
        if self.open_words is not None and self.open_words.seen is not None:
            return self.open_words.seen
        seen = seen_classes(self.vocabulary, self.trained_words)
        return torch.tensor(seen, device=self.device)
