"""SAN: Side Adapter Network (CVPR 2023).

A small ViT beside a frozen CLIP finds masks and tells CLIP's heads what to look at; copies of
CLIP's class token look so, and are compared with the words. Letters: B pictures, Q queries, K
classes, M CLIP width, E joint width, h x w adapter grid, gh x gw CLIP's grid, Hp x Wp padded size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.clip import ImageEncoder
from ovs_core.modeling.mask2former import (
    HeadOutput,
    MaskScores,
    QueryInit,
    QuerySegmenter,
    SetCriterion,
    open_mask_labels,
)
from ovs_core.modeling.picture_batches import encode_by_shape
from ovs_core.modeling.scores import Size, size_of
from ovs_core.modeling.segmenter import SegmenterArguments

from .build import san_arguments, train_parts
from .published import published_weights
from .recognition import Recognition
from .side_adapter import AdapterOutput, SideAdapter

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True)
class FoundMasks:
    """Masks of a picture and what CLIP sees in them; no word has entered yet.

    Attributes:
        masks: (1, Q, h, w) mask logits.
        vectors: (1, Q, E) unit vectors.
        canvas: (Hp, Wp).
        valid: size of the picture inside.
    """

    masks: Tensor
    vectors: Tensor
    canvas: Size
    valid: Size


@META_ARCH_REGISTRY.register()
class SAN(QuerySegmenter):
    """The method.

    Args:
        side_adapter: finds masks and biases.
        recognition: gives masks their vectors.
        clip_resolution: factor on the sides of the picture that CLIP sees; 1 for the adapter's.
        logits_first: whether mask logits are brought to the final size before they are summed.
        trained: parts of names of CLIP's parameters that are trained before the split; ``all``.
        trained_deeper: likewise from the split on.
        query_init: what the queries of a training begin from; None for random ones.
        segmenter: arguments of ``QuerySegmenter``; the CLIP has a ViT image tower.
    """

    @configurable
    def __init__(
        self,
        *,
        side_adapter: SideAdapter,
        recognition: Recognition,
        criterion: SetCriterion,
        divisor: int = 32,
        clip_resolution: float = 0.5,
        logits_first: bool = True,
        trained: Sequence[str] = ("positional_embedding",),
        trained_deeper: Sequence[str] = (),
        query_init: QueryInit | None = None,
        **segmenter: Unpack[SegmenterArguments],
    ) -> None:
        super().__init__(criterion=criterion, divisor=divisor, query_init=query_init, **segmenter)
        self.encoder = ImageEncoder(self.clip.visual)
        self.side_adapter = side_adapter
        self.recognition = recognition
        self.bg_embed = nn.Parameter(torch.empty(1, self.clip.embed_dim))
        nn.init.normal_(self.bg_embed, std=self.clip.embed_dim**-0.5)
        self.clip_resolution, self.logits_first = clip_resolution, logits_first
        self.to(self.device)
        train_parts(self.clip, recognition.split, trained, trained_deeper)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Build the parts, see ``build.py``."""
        return san_arguments(cfg)

    @property
    def num_queries(self) -> int:
        """Q."""
        return self.recognition.queries

    @property
    def queries(self) -> Tensor:
        """(1, Q, D) of the adapter; their positions stay as they are."""
        return self.side_adapter.query_embed

    def class_rows(self) -> Tensor:
        """(K + 1, E): a row per class and one for "nothing", as vectors are compared with them.

        All are unit vectors times CLIP's logit scale.
        """
        rows = torch.cat([self.text_features(), self.bg_embed])
        return self.clip.parts.logit_scale.exp() * F.normalize(rows, dim=-1)

    @staticmethod
    def compare(vectors: Tensor, rows: Tensor) -> Tensor:
        """(..., E) and (K + 1, E) -> (..., K + 1) scores.

        In float32 also under autocast: of scores up to 100 bfloat16 keeps no half.
        """
        with torch.autocast(rows.device.type, enabled=False):
            return vectors.to(rows.dtype) @ rows.t()

    def losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Set criterion of every supervised block, each with its own matching."""
        images = self.batch(batched_inputs)
        rows = self.class_rows()
        heads = [
            HeadOutput(self.compare(vectors, rows), output.masks)
            for output, vectors in self.find(images, every_block=True)
        ]
        return self.criterion(heads, self.targets(batched_inputs, images), self.part)

    def find(
        self, images: Tensor, *, every_block: bool = False
    ) -> list[tuple[AdapterOutput, Tensor]]:
        """Find masks and recognise what they show.

        Args:
            images: (B, 3, Hp, Wp) normalised, padded pictures.
            every_block: whether of all supervised blocks, as training needs.

        Returns:
            Per decoded block, the last block last, masks with biases and (B, Q, E) unit vectors.
        """
        levels, tokens, grid = self.features(self.clip_input(images))
        outputs = self.side_adapter(images, levels, every_block=every_block)
        return [(one, self.recognition(tokens, grid, one.biases)) for one in outputs]

    def clip_input(self, images: Tensor) -> Tensor:
        """The pictures as CLIP sees them, resized by a factor and not to a size."""
        if self.clip_resolution == 1:
            return images
        return F.interpolate(
            images, scale_factor=self.clip_resolution, mode="bilinear", align_corners=False
        )

    def features(self, images: Tensor) -> tuple[dict[int, Tensor], Tensor, Size]:
        """Run CLIP up to the split.

        Gradients flow through it: its position table is trained.

        Args:
            images: (B, 3, H, W) as ``clip_input`` gives them.

        Returns:
            Level (0 before the first block) -> patches (B, M, gh, gw), all tokens
            (B, 1 + gh * gw, M) of the last level, and (gh, gw).
        """
        tokens, grid = self.encoder.embed(images)
        blocks = list(self.encoder.visual.transformer.resblocks)[: self.recognition.split]
        levels = {}
        for level, block in enumerate([None, *blocks]):
            tokens = tokens if block is None else block(tokens)
            levels[level] = tokens[:, 1:].transpose(1, 2).unflatten(2, grid)
        return levels, tokens, grid

    def encode_picture(self, picture: Tensor) -> FoundMasks:
        """Find the masks of a (3, H', W') picture."""
        return self.encode_pictures([picture])[0]

    def encode_pictures(self, pictures: Sequence[Tensor]) -> list[FoundMasks]:
        """Find the masks of pictures that are padded to one size together."""
        sizes = [size_of(picture) for picture in pictures]
        padded = [self.pad([p], size)[0] for p, size in zip(pictures, sizes, strict=True)]
        found: list[tuple[Tensor, Tensor]] = encode_by_shape(self.encode, padded)
        return [
            FoundMasks(masks, vectors, canvas=size_of(images), valid=size)
            for (masks, vectors), images, size in zip(found, padded, sizes, strict=True)
        ]

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, Hp, Wp) padded pictures -> masks (B, Q, h, w) and their vectors (B, Q, E)."""
        ((output, vectors),) = self.find(images)
        return output.masks, vectors

    def encoder_inputs(self, picture: Tensor) -> list[Tensor]:
        """The padded, smaller picture that CLIP is shown."""
        return [self.clip_input(self.pad([picture], size_of(picture)))]

    def score_picture(self, encoded: FoundMasks, size: Size) -> MaskScores:
        """Compare the masks with the current words."""
        return MaskScores(
            self.compare(encoded.vectors, self.class_rows())[0],
            encoded.masks[0],
            encoded.canvas,
            encoded.valid,
            size,
            logits_first=self.logits_first,
        )

    def open_labels(self, pictures: Tensor, size: Size) -> Tensor:
        """Find the masks of several pictures and score them; see ``Segmenter.open_labels``."""
        images = self.open_pad(pictures)
        masks, vectors = self.encode(images)
        return open_mask_labels(
            self.compare(vectors, self.class_rows()),
            masks,
            size,
            canvas=size_of(images),
            valid=size_of(pictures),
            logits_first=self.logits_first,
        )

    def rename_published(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Translate a published checkpoint; refuse one of another CLIP."""
        return published_weights(
            self, tensors, split=self.recognition.split, blocks=self.encoder.num_blocks
        )
