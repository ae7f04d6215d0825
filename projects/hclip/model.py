"""CAT-Seg and H-CLIP as Detectron2 meta-architectures.

Both are one network: an adapted CLIP (``finetune.py``) whose last image block keeps values only,
and the cost aggregation decoder of the core. Letters: B pictures, K classes, P prompts, E joint
width, h x w grid, H x W picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList
from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.clip import CLIP, ImageEncoder
from ovs_core.clip.attention import cls_residual_value_block
from ovs_core.errors import UserError
from ovs_core.modeling.build import segmenter_arguments
from ovs_core.modeling.cost_aggregation import AggregationSettings, CostAggregation
from ovs_core.modeling.protocols import InferenceProtocol
from ovs_core.modeling.segmenter import Segmenter
from ovs_core.words.label_space import IGNORE, ClassSplit

from .config import aggregation_settings, finetune_settings
from .finetune import FinetuneSettings, adapt
from .key_map import rename
from .losses import LOSSES
from .once import Once, StepClock


@dataclass(frozen=True)
class ImageFeatures:
    """What the decoder needs of pictures.

    Attributes:
        dense: (B, E, h, w) image features in the joint space, not normalised.
        guidance: (B, G1, 2h, 2w) and (B, G2, 4h, 4w) upsampled outputs of two blocks.
    """

    dense: Tensor
    guidance: tuple[Tensor, Tensor]


@META_ARCH_REGISTRY.register()
class CATSeg(Segmenter):
    """CLIP with a cost aggregation decoder; how CLIP trains is a setting.

    Args:
        clip: the CLIP; parametrized or extended by the adaptation.
        templates: P prompts per class.
        finetune: how CLIP trains.
        aggregation: sizes of the decoder.
        image_size: side in pixels at which the image tower runs.
        guidance_layers: two image blocks whose outputs guide the upsampling.
        size_divisor: training pictures are padded to a multiple of this before they are resized.
        loss: ``"bce"`` (released) or ``"ce"`` (as the H-CLIP paper names it).
        seen_only: train with the words of the seen classes alone, if the words have unseen ones;
            pixels of unseen classes count as unlabelled.
        checkpointing: recompute CLIP's blocks in the backward pass.
        protocol: how pictures are shown at test time.
        output: ``"labels"`` or ``"scores"``.
    """

    @configurable
    def __init__(
        self,
        *,
        clip: CLIP,
        templates: Sequence[str],
        finetune: FinetuneSettings,
        aggregation: AggregationSettings,
        image_size: int,
        guidance_layers: Sequence[int] = (3, 7),
        size_divisor: int = 32,
        loss: str = "bce",
        seen_only: bool = False,
        checkpointing: bool = False,
        protocol: InferenceProtocol | None = None,
        output: str = "labels",
    ) -> None:
        super().__init__(
            clip=clip, templates=templates, protocol=protocol, output=output, text_cache=False
        )
        if loss not in LOSSES:
            raise UserError(f"MODEL.CATSEG.LOSS: '{loss}' is none of {', '.join(LOSSES)}")
        encoder = ImageEncoder(clip.visual)
        # In a tuple: the towers are registered once, in the CLIP.
        self._image_encoder = (encoder,)
        self.image_size, self.size_divisor = image_size, size_divisor
        self.guidance_layers = tuple(encoder.block_index(i) for i in guidance_layers)
        self.loss, self.seen_only = loss, seen_only
        self.finetune = finetune
        self.clock = StepClock()
        self.adaptation = adapt(clip, finetune, self.clock)
        self._check_checkpointing(checkpointing)
        width, dims = encoder.width, aggregation.decoder_guidance_dims
        self.upsample = nn.ModuleList(
            nn.ConvTranspose2d(width, dims[i], 2 ** (i + 1), stride=2 ** (i + 1)) for i in range(2)
        )
        self.decoder = CostAggregation(clip.embed_dim, len(self.templates), aggregation)
        self._tokens: tuple[tuple[str, ...], Tensor] | None = None
        self._kept_text: tuple[tuple[str, ...], Once] | None = None

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read ``MODEL.CATSEG``, ``MODEL.HCLIP`` and the shared keys."""
        node = cfg.MODEL.CATSEG
        return {
            **segmenter_arguments(cfg),
            "finetune": finetune_settings(cfg),
            "aggregation": aggregation_settings(cfg),
            "image_size": node.IMAGE_SIZE,
            "guidance_layers": tuple(node.GUIDANCE_LAYERS),
            "size_divisor": node.SIZE_DIVISOR,
            "loss": node.LOSS,
            "seen_only": node.SEEN_ONLY,
            "checkpointing": node.GRADIENT_CHECKPOINTING,
        }

    @property
    def image_encoder(self) -> ImageEncoder:
        """The image tower, adapted."""
        return self._image_encoder[0]

    def train(self, mode: bool = True) -> CATSeg:
        """Switch between training and evaluation; values of a training step are dropped."""
        self.clock.stop()
        return super().train(mode)

    def losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Compute ``loss_sem_seg`` of a batch of crops."""
        self._begin_step()
        images = [self.normalize(one["image"]) for one in batched_inputs]
        padded = ImageList.from_tensors(images, self.size_divisor).tensor
        targets = [one["sem_seg"].to(self.device) for one in batched_inputs]
        targets = ImageList.from_tensors(targets, pad_value=IGNORE).tensor
        text, targets = self._trained_classes(self.text_features(), targets)
        logits = self._decode(self.encode(padded), text).float()
        logits = F.interpolate(logits, size=targets.shape[-2:], mode="bilinear")
        return {"loss_sem_seg": LOSSES[self.loss](logits, targets)}

    def encode(self, images: Tensor) -> ImageFeatures:
        """(B, 3, H, W) normalised pictures -> features that do not depend on the words."""
        size = (self.image_size, self.image_size)
        if tuple(images.shape[-2:]) != size:
            images = F.interpolate(images, size=size, mode="bilinear", align_corners=False)
        encoder = self.image_encoder
        tokens, grid = encoder.embed(images)
        tokens, taps = encoder.run_blocks(
            tokens,
            grid,
            taps={*self.guidance_layers, *self.adaptation.image_taps()},
            blocks={encoder.num_blocks - 1: cls_residual_value_block},
            before=self.adaptation.edit_tokens,
        )
        tokens = self.adaptation.finish_image(tokens, taps)
        dense = encoder.split(encoder.project(tokens), grid).patches
        maps = [encoder.split(taps[layer], grid).patches for layer in self.guidance_layers]
        guidance = tuple(up(x) for up, x in zip(self.upsample, maps, strict=True))
        return ImageFeatures(dense, guidance)

    def score(self, features: ImageFeatures) -> Tensor:
        """Features -> (B, K, 4h, 4w) logits for the current words."""
        return self._decode(features, self.text_features())

    def activate(self, maps: Tensor, which: slice) -> Tensor:
        """Probabilities of independent classes with the released loss, logits with the other."""
        return maps.sigmoid() if self.loss == "bce" else maps

    def encode_words(self) -> Tensor:
        """(K, P, E) unit features of the current words.

        With gradients they are computed in every call; without, once until words or weights change.
        """
        prompts = tuple(self.prompts())
        if torch.is_grad_enabled() and self.adaptation.trains_text:
            return self._pool(F.normalize(self.text_encoder(self._tokenized(prompts)), dim=-1))
        if self._kept_text is None or self._kept_text[0] != prompts:
            self._kept_text = (prompts, Once(self.clock, self._text_parameters()))
        with torch.no_grad():
            return self._kept_text[1](lambda: self._pool(self.text_encoder.encode(prompts)))

    def prompts(self) -> list[str]:
        """Texts of all classes in all templates, templates fastest.

        As CAT-Seg does, only the part of a name before the first ", " is used.
        """
        texts = [text.split(", ")[0] for text in self.vocabulary.texts]
        return [template.format(text) for text in texts for template in self.templates]

    def rename_published(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Bring a checkpoint of released CAT-Seg or H-CLIP to this model's names."""
        return rename(tensors, self)

    def _begin_step(self) -> None:
        """Compute adapted weights before any block runs.

        Gradient checkpointing must not see them being computed: its second pass finds them ready.
        """
        self.clock.tick()
        for module in self.clip.model.modules():
            for name in getattr(module, "parametrizations", ()):
                getattr(module, name)

    def _decode(self, features: ImageFeatures, text: Tensor) -> Tensor:
        return self.decoder(features.dense, text, (features.dense, *features.guidance))

    def _trained_classes(self, text: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Leave out unseen classes: (K, P, E) features and labels -> (S, P, E), labels below S."""
        split = ClassSplit.from_unseen(self.unseen if self.seen_only else (), len(text))
        seen = text[list(split.seen)] if split.unseen else text
        return seen, split.relabel(targets, hidden=IGNORE)

    def _pool(self, rows: Tensor) -> Tensor:
        """(E * P, D) prompt features -> (K, P, D): mean over the synonyms of a class."""
        rows = rows.unflatten(0, (-1, len(self.templates)))
        if not self.vocabulary.has_synonyms:
            return rows
        index = torch.tensor(self.vocabulary.class_index, device=rows.device)
        sums = rows.new_zeros((len(self.vocabulary), *rows.shape[1:])).index_add(0, index, rows)
        return F.normalize(sums, dim=-1)

    def _tokenized(self, prompts: tuple[str, ...]) -> Tensor:
        if self._tokens is None or self._tokens[0] != prompts:
            self._tokens = (prompts, self.text_encoder.tokenize(prompts))
        return self._tokens[1].to(self.device)

    def _text_parameters(self) -> list[nn.Parameter]:
        named = self.clip.model.named_parameters()
        own = [p for name, p in named if not name.startswith("visual.")]
        return own + list(self.adaptation.parameters())

    def _check_checkpointing(self, wanted: bool) -> None:
        if wanted and self.adaptation.image_taps():
            raise UserError(
                "MODEL.CATSEG.GRADIENT_CHECKPOINTING does nothing for MODEL.CATSEG.FINETUNE lst, "
                "which sends no gradient through CLIP; switch it off"
            )
        if wanted:
            self.clip.model.set_grad_checkpointing(True)


@META_ARCH_REGISTRY.register()
class HCLIP(CATSeg):
    """H-CLIP: CAT-Seg's decoder on a CLIP adapted by POP and DCRC."""

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the config, which must ask for H-CLIP's adaptation.

        Raises:
            UserError: if it asks for another one.
        """
        if cfg.MODEL.CATSEG.FINETUNE != "hclip":
            raise UserError(
                f"MODEL.META_ARCHITECTURE HCLIP needs MODEL.CATSEG.FINETUNE hclip, not "
                f"{cfg.MODEL.CATSEG.FINETUNE}; for other ways to fine-tune use CATSeg"
            )
        return super().from_config(cfg)
