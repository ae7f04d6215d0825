"""MAFT: attention and norms of CLIP's image encoder are tuned so that scores follow masks.

The mask proposals come from a frozen first stage. Letters: B pictures, Q masks, K classes, S texts,
E joint width, Hp x Wp padded size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.clip import ClipIdentity
from ovs_core.errors import UserError
from ovs_core.modeling.global_batch import Facts
from ovs_core.modeling.mask2former import MaskScores, Prediction, class_scores
from ovs_core.modeling.scores import Scores, Size, resize, size_of

from ..mask_aware_loss import mask_aware_loss
from .build import load_first_stage, maft_arguments
from .ensemble import ensemble_weights
from .ip_clip import ProposalEncoder
from .proposals import ProposalSegmenter


@dataclass(frozen=True)
class ProposedMasks:
    """A picture and the masks found in it; no word has entered yet.

    Attributes:
        prediction: masks (1, Q, h, w) and class embeddings (1, Q, E) of the proposal network.
        mask_embedding: (1, Q, E) what IP-CLIP sees in the masks, not normalised.
        reached: (1, Q) masks that are sure of a pixel.
        canvas: (Hp, Wp).
        valid: size of the picture inside.
    """

    prediction: Prediction
    mask_embedding: Tensor
    reached: Tensor
    canvas: Size
    valid: Size


@META_ARCH_REGISTRY.register()
class MAFT(ProposalSegmenter):
    """The method.

    Args:
        build_original: gives the image tower of the CLIP that training started from; called when
            training begins, so that evaluation never loads a second CLIP.
        first_stage: checkpoint that the mask proposals and the row for "nothing" are taken from;
            "" leaves them to the checkpoint of the model.
        start_layer: first block in which class tokens look at masks.
        clip_size: side in pixels of the square that IP-CLIP sees the padded picture as.
        temperature: factor on cosines.
        distillation_weight: factor on the self-distillation.
        ensemble_weight: weight w of the proposal network's own scores on trained classes, 1 - w on
            others; 0 uses IP-CLIP's scores alone.
        segmenter: arguments of ``ProposalSegmenter``.
    """

    keeps = ("proposals.", "text_rows.")

    @configurable
    def __init__(
        self,
        *,
        build_original: Callable[[ClipIdentity], nn.Module],
        first_stage: str = "",
        start_layer: int = 8,
        clip_size: int = 480,
        temperature: float = 100.0,
        distillation_weight: float = 0.1,
        ensemble_weight: float = 0.0,
        **segmenter: Any,
    ) -> None:
        super().__init__(**segmenter)
        if first_stage:
            load_first_stage(self.proposals, self.text_rows, self.clip, first_stage)
        self.proposals.requires_grad_(False)
        self.text_rows.requires_grad_(False)
        self.encoder = ProposalEncoder(self.clip.visual, start=start_layer)
        self._build_original = build_original
        self._original: ProposalEncoder | None = None
        self.clip_size = (clip_size, clip_size)
        self.temperature = temperature
        self.distillation_weight = distillation_weight
        self.ensemble_weight = ensemble_weight
        for part in tuned_parts(self.clip.visual):
            part.requires_grad_(True)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Build the parts, see ``build.py``."""
        return maft_arguments(cfg)

    @property
    def original(self) -> ProposalEncoder:
        """The frozen tower that training started from, loaded when first asked for."""
        if self._original is None:
            visual = self._build_original(self.clip.identity).to(self.device).eval()
            visual.requires_grad_(False)
            self._original = ProposalEncoder(visual, start=self.encoder.start)
        return self._original

    def train(self, mode: bool = True) -> MAFT:
        """Switch the mode; the proposal network and CLIP always stay in evaluation mode."""
        super().train(mode)
        self.proposals.eval()
        self.clip.eval()
        return self

    def facts(self, batched_inputs: list[dict[str, Any]]) -> list[Facts]:
        """What the mask-aware loss divides by."""
        return [{"segments": len(one["instances"])} for one in batched_inputs]

    def losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Mask-aware loss and self-distillation.

        Raises:
            UserError: if nothing has trained the mask proposals.
        """
        if not self.proposals.trained:
            raise UserError(
                "MODEL.MAFT.PROPOSALS is empty, and random mask proposals teach nothing; give the "
                "checkpoint of a run of the first stage (maftplus/maft_proposals, or "
                "maftplus/maft_proposals_tiny on the embedded world)"
            )
        pictures = [one["image"] for one in batched_inputs]
        size = self.padded_size(batched_inputs)
        _, masks = self.propose(pictures, size)
        shown = self.shown(pictures, size)
        scores = self.own_scores(self.encoder.embed_masks(shown, masks.sigmoid()))
        segments = None if self.part is None else self.part.count("segments")
        targets = self.targets(batched_inputs, size_of(masks))
        return {
            "ma_loss": mask_aware_loss(scores, masks, targets, segments),
            "dis_loss": self.distillation_weight * self.distillation(shown),
        }

    def distillation(self, shown: Tensor) -> Tensor:
        """Distance of the whole pictures' class probabilities before and after tuning.

        Args:
            shown: (B, 3, h, w) pictures as IP-CLIP sees them.

        Returns:
            Scalar, not weighted.
        """
        with torch.no_grad():
            before = self.picture_probabilities(self.original, shown)
        return F.smooth_l1_loss(self.picture_probabilities(self.encoder, shown), before)

    def picture_probabilities(self, encoder: ProposalEncoder, shown: Tensor) -> Tensor:
        """Class probabilities (B, K) of whole pictures (B, 3, h, w)."""
        scores = self.own_scores(encoder.embed_pictures(shown)[:, None])
        return scores[:, 0, :-1].float().softmax(-1)

    @torch.no_grad()
    def propose(self, pictures: Sequence[Tensor], size: Size) -> tuple[Prediction, Tensor]:
        """Propose masks, which get no gradient.

        Args:
            pictures: (3, h, w) RGB in 0..255 each.
            size: (H, W), no picture is larger.

        Returns:
            The prediction, and its mask logits (B, Q, Hp, Wp) at the padded size.
        """
        images = self.pad(pictures, size, self.proposals.normalize)
        prediction = self.proposals(images)[-1]
        masks = F.interpolate(
            prediction.masks.float(), size_of(images), mode="bilinear", align_corners=True
        )
        return prediction, masks

    def shown(self, pictures: Sequence[Tensor], size: Size) -> Tensor:
        """What IP-CLIP sees of padded pictures: squares (B, 3, side, side), aspect lost."""
        return resize(self.pad(pictures, size, self.normalize), self.clip_size)

    def own_scores(self, embedding: Tensor) -> Tensor:
        """Scores (B, Q, K + 1) of vectors (B, Q, E) of the image tower, "nothing" last."""
        rows, index = self.rows()
        scale = embedding.new_full((), math.log(self.temperature), dtype=torch.float32)
        return class_scores(embedding, rows, index, scale)

    def encode_picture(self, picture: Tensor) -> ProposedMasks:
        """Find the masks of a (3, H', W') picture and embed them."""
        valid = size_of(picture)
        prediction, masks = self.propose([picture], valid)
        embedding = self.encoder.embed_masks(self.shown([picture], valid), masks.sigmoid())
        inside = masks[..., : valid[0], : valid[1]] > 0  # probability above one half
        return ProposedMasks(
            prediction, embedding, inside.flatten(2).any(-1), size_of(masks), valid
        )

    def encoder_inputs(self, picture: Tensor) -> list[Tensor]:
        """The padded picture of the proposal network, and the square of IP-CLIP."""
        size = size_of(picture)
        return [self.pad([picture], size, self.proposals.normalize), self.shown([picture], size)]

    def bare_forward(self, images: Tensor) -> Any:
        """Run the tower alone on what it is shown, and the network's backbone on the rest."""
        if size_of(images) == self.clip_size:
            return self.encoder.embed_pictures(images)
        return self.proposals.backbone(images)

    def score_picture(self, encoded: ProposedMasks, size: Size) -> Scores:
        """Sum the soft masks, weighted with their classes."""
        own = self.own_scores(encoded.mask_embedding)
        return MaskScores(
            own[0],
            encoded.prediction.masks[0],
            encoded.canvas,
            encoded.valid,
            size,
            align_corners=True,
            weights=self.class_weights(encoded, own)[0],
        )

    def class_weights(self, encoded: ProposedMasks, own: Tensor) -> Tensor:
        """What each mask counts for each class: (1, Q, K).

        Args:
            encoded: the masks.
            own: (1, Q, K + 1) scores of IP-CLIP.
        """
        if not self.ensemble_weight:
            return own[..., :-1].softmax(-1)
        return ensemble_weights(
            self.trained_scores(encoded.prediction, *self.rows()),
            own,
            encoded.reached,
            self.trained_classes(),
            weight=self.ensemble_weight,
        )

    def trained_classes(self) -> list[bool]:
        """Tell for each class whether it was trained on: none, unless the dataset says who was."""
        unseen = set(self.unseen)
        return [bool(unseen) and k not in unseen for k in range(len(self.vocabulary))]


def tuned_parts(visual: nn.Module) -> list[nn.Module]:
    """What MAFT trains of a ViT tower: attention and norms of every block, and the last norm."""
    blocks = visual.get_submodule("transformer.resblocks").children()
    inside = [block.get_submodule(n) for block in blocks for n in ("attn", "ln_1", "ln_2")]
    return [*inside, visual.get_submodule("ln_post")]
