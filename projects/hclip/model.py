"""CAT-Seg and H-CLIP as Detectron2 meta-architectures.

Both are one network: an adapted CLIP (``adaptation.py``) whose last image block is rewired,
and the cost aggregation decoder of the core. Letters: B pictures, K classes, P prompts, E joint
width, h x w grid, H x W picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.clip import ImageEncoder
from ovs_core.errors import check_choice
from ovs_core.modeling.cost_aggregation import DROPPED, CostAggregation
from ovs_core.modeling.global_batch import Facts, largest_size
from ovs_core.modeling.padding import stack_padded
from ovs_core.modeling.scores import Scores, Size, resize
from ovs_core.modeling.segmenter import Segmenter, SegmenterArguments
from ovs_core.modeling.word_rejection import KeptScores, best_words
from ovs_core.tensor.placing import place
from ovs_core.words.label_space import IGNORE, ClassSplit

from .adaptation import Adaptation, recompute_blocks, towers
from .build import catseg_arguments, hclip_arguments
from .last_blocks import LAST_BLOCKS
from .losses import LOSSES
from .once import Once
from .published import rename_released

if TYPE_CHECKING:
    from typing_extensions import Unpack


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
    """CLIP with a cost aggregation decoder; how CLIP trains is its adaptation's affair.

    Args:
        adaptation: how CLIP trains; it has changed the CLIP already.
        upsample: brings the outputs of the two guiding blocks to twice and four times their size.
        decoder: cost aggregation.
        image_size: side in pixels at which the image tower runs.
        guidance_layers: two image blocks whose outputs guide the upsampling.
        size_divisor: training pictures are padded to a multiple of this before they are resized.
        loss: ``"bce"`` (released) or ``"ce"`` (as the H-CLIP paper names it).
        seen_only: train with the words of the seen classes alone, if the words have unseen ones;
            pixels of unseen classes count as unlabelled.
        checkpointing: recompute CLIP's blocks in the backward pass.
        last_block: of ``LAST_BLOCKS``, how the last image block makes dense features.
        keep_words: at test time, only so many words are aggregated, those with the largest cosine
            in any cell of the picture, all its windows and views together; 0 for all.
        rate: factor on the learning rates of CLIP's side.
        segmenter: arguments of ``Segmenter``.
    """

    engine_parts = ("encode_squares", "decode")

    @configurable
    def __init__(
        self,
        *,
        adaptation: Adaptation,
        upsample: nn.ModuleList,
        decoder: CostAggregation,
        image_size: int,
        guidance_layers: Sequence[int] = (3, 7),
        size_divisor: int = 32,
        loss: str = "bce",
        seen_only: bool = False,
        checkpointing: bool = False,
        last_block: str = "cls",
        keep_words: int = 0,
        rate: float = 1.0,
        **segmenter: Unpack[SegmenterArguments],
    ) -> None:
        super().__init__(**segmenter, text_cache=False)
        check_choice("MODEL.CATSEG.LOSS", loss, LOSSES)
        check_choice("MODEL.CATSEG.LAST_BLOCK", last_block, LAST_BLOCKS)
        self.last_block = LAST_BLOCKS[last_block]
        self.image_encoder = ImageEncoder(self.clip.visual)
        self.image_size, self.size_divisor = image_size, size_divisor
        self.guidance_layers = tuple(self.image_encoder.block_index(i) for i in guidance_layers)
        self.loss, self.seen_only = loss, seen_only
        self.keep_words = keep_words
        self._kept: Tensor | None = None
        self.rates = {"clip.": rate, "adaptation.": rate}
        self.adaptation, self.upsample, self.decoder = adaptation, upsample, decoder
        if checkpointing:
            recompute_blocks(self.clip, adaptation)
        self._tokens: tuple[tuple[str, ...], Tensor] | None = None
        self._kept_text: tuple[tuple[str, ...], Once[Tensor]] | None = None

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Build the parts, see ``build.py``."""
        return catseg_arguments(cfg)

    def train(self, mode: bool = True) -> CATSeg:
        """Switch between training and evaluation; values of a training step are dropped.

        So are the words' features: the versions of gathered weights do not tell that they changed.
        """
        self.adaptation.clock.stop()
        self._kept_text = None
        return super().train(mode)

    def losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Compute ``loss_sem_seg`` of a batch of crops."""
        self.adaptation.begin_step(self.clip)
        size = largest_size(batched_inputs, self.part)
        images = [self.normalize(one["image"]) for one in batched_inputs]
        padded = stack_padded(images, size, divisor=self.size_divisor)
        labels = stack_padded([one["sem_seg"] for one in batched_inputs], size, value=IGNORE)
        # Looked at where they are: a GPU would be waited for.
        targets = self._trained_split().relabel(labels, hidden=IGNORE)
        targets = targets.to(self.device, non_blocking=True)
        logits = self.decode(self.encode(padded), self._trained_text()).float()
        labelled = None if self.part is None else self.part.count("labelled")
        return {"loss_sem_seg": LOSSES[self.loss](logits, targets, labelled)}

    def facts(self, batched_inputs: list[dict[str, Any]]) -> list[Facts]:
        """How many pixels of each picture are labelled."""
        split = self._trained_split()
        labels = [split.relabel(one["sem_seg"], hidden=IGNORE) for one in batched_inputs]
        return [{"labelled": int((one != IGNORE).sum())} for one in labels]

    @classmethod
    def sharding_obstacle(cls, cfg: CfgNode) -> str:
        """Only ``MODEL.CATSEG.FINETUNE full`` trains much of CLIP."""
        mode = cfg.MODEL.CATSEG.FINETUNE
        if mode == "full":
            return ""
        return f"MODEL.CATSEG.FINETUNE {mode} leaves most of CLIP frozen; take full"

    def shards(self) -> list[nn.Module]:
        """The blocks of both towers, but the last of the picture's, which is run in other ways."""
        both = towers(self.clip)
        return [*both["image"].resblocks[:-1], *both["text"].resblocks]

    def encode(self, images: Tensor) -> ImageFeatures:
        """(B, 3, H, W) normalised pictures -> features that do not depend on the words."""
        return self.encode_squares(self._square(images))

    def encode_squares(self, images: Tensor) -> ImageFeatures:
        """``encode`` of pictures (B, 3, side, side) as the tower sees them."""
        encoder = self.image_encoder
        tokens, grid = encoder.embed(images)
        tokens, taps = encoder.run_blocks(
            tokens,
            grid,
            taps={*self.guidance_layers, *self.adaptation.image_taps()},
            blocks={encoder.num_blocks - 1: self.last_block},
            before=self.adaptation.edit_tokens,
        )
        tokens = self.adaptation.finish_image(tokens, taps)
        dense = encoder.split(encoder.project(tokens), grid).patches
        maps = [encoder.split(taps[layer], grid).patches for layer in self.guidance_layers]
        guidance = tuple(up(x) for up, x in zip(self.upsample, maps, strict=True))
        return ImageFeatures(dense, guidance)

    def encoder_inputs(self, picture: Tensor) -> list[Tensor]:
        """The squares that the tower is shown."""
        return [self._square(images) for images in super().encoder_inputs(picture)]

    def _square(self, images: Tensor) -> Tensor:
        return resize(images, (self.image_size, self.image_size))

    def score(self, features: ImageFeatures) -> Tensor:
        """Features -> (B, K, 4h, 4w) logits for the current words."""
        text = self.text_features()
        return self.decode(features, text if self._kept is None else text[self._kept])

    def score_picture(self, encoded: Any, size: Size) -> Scores:
        """Scores of an encoded picture; of words that are left out, those of a logit of -100."""
        text = self.text_features()
        if not 0 < self.keep_words < len(text):
            return super().score_picture(encoded, size)
        self._kept = kept = best_words(_dense(encoded), text, self.keep_words)
        try:
            few = super().score_picture(encoded, size)
        finally:
            self._kept = None
        floor = self.activate(torch.tensor(DROPPED), slice(0, 1)).item()
        return KeptScores(few, kept, len(text), floor)

    def shortcut(self) -> str:
        """Say how many words are aggregated, if not all."""
        return f"MODEL.CATSEG.KEEP_WORDS {self.keep_words}" if self.keep_words else ""

    @contextmanager
    def without_shortcut(self) -> Iterator[None]:
        """Let a block aggregate all words."""
        kept, self.keep_words = self.keep_words, 0
        try:
            yield
        finally:
            self.keep_words = kept

    def export_obstacle(self) -> str:
        """A program has the same words for every picture."""
        if not self.keep_words:
            return ""
        return f"{self.shortcut()} chooses other words for every picture; leave the key at 0"

    def activate(self, maps: Tensor, which: slice) -> Tensor:
        """Probabilities of independent classes with the released loss, logits with the other."""
        return maps.sigmoid() if self.loss == "bce" else maps

    def encode_words(self) -> Tensor:
        """(K, P, E) unit features of the current words.

        With gradients they are computed in every call; without, once until words or weights change.
        """
        prompts = tuple(self.prompts())
        if torch.is_grad_enabled() and self.adaptation.trains_text:
            rows = self.text_encoder.in_groups(self._tokenized(prompts))
            return self._pool(F.normalize(rows, dim=-1))
        if self._kept_text is None or self._kept_text[0] != prompts:
            self._kept_text = (prompts, Once(self.adaptation.clock, self._text_parameters()))
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
        return rename_released(tensors, self)

    def decode(self, features: ImageFeatures, text: Tensor) -> Tensor:
        """Aggregate costs with (K, P, E) text features: (B, K, 4h, 4w) logits."""
        return self.decoder(features.dense, text, (features.dense, *features.guidance))

    def _trained_split(self) -> ClassSplit:
        """Which classes are trained; labels of the others count as unlabelled."""
        unseen = self.unseen if self.seen_only else ()
        return ClassSplit.from_unseen(unseen, len(self.vocabulary))

    def _trained_text(self) -> Tensor:
        """(S, P, E) features of the trained classes."""
        text, split = self.text_features(), self._trained_split()
        return text[place(split.seen, text.device)] if split.unseen else text

    def _pool(self, rows: Tensor) -> Tensor:
        """(E * P, D) prompt features -> (K, P, D): mean over the synonyms of a class."""
        rows = rows.unflatten(0, (-1, len(self.templates)))
        if not self.vocabulary.has_synonyms:
            return rows
        index = place(self.vocabulary.class_index, rows.device)
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


@META_ARCH_REGISTRY.register()
class HCLIP(CATSeg):
    """H-CLIP: CAT-Seg's decoder on a CLIP adapted by POP and DCRC."""

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Build the parts of a config that asks for H-CLIP's adaptation, see ``build.py``."""
        return hclip_arguments(cfg)


def _dense(encoded: Any) -> Iterator[Tensor]:
    """Find the dense features of all windows and views in what a protocol has encoded."""
    if isinstance(encoded, ImageFeatures):
        yield encoded.dense
    elif isinstance(encoded, (list, tuple)):
        for part in encoded:
            yield from _dense(part)
