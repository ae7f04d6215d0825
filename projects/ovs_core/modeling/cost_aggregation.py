"""Cost aggregation (CAT-Seg): from similarities of cells and words to logits.

The cost volume (similarity of every grid cell with every word) is embedded, then smoothed in turn
over space within each word and over words within each cell, then upsampled per word.

Everything but the attention over words treats words apart, and that attention treats cells apart.
So the work is cut into chunks of words or cells: same logits, bounded memory, and in training
little is kept of each chunk (``recomputing.py``).
Products that the words share (everything that enters from the picture) are computed once, not once
per word.

Letters: B pictures, K words, P prompts per word, E joint width, D hidden width, h x w grid,
G guidance width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError, check_choice
from ..tensor.resampling import known_later, smaller
from .cost_cells import entries, in_chunks
from .cost_upsampling import UpsampleStage
from .cost_windows import SpatialAggregation
from .cost_words import ClassAttention
from .recomputing import recomputed

DROPPED = -100.0  # logit of a class that was not among the best
ATTENTIONS = ("linear", "full")


@dataclass(frozen=True)
class AggregationSettings:
    """Sizes and switches of the aggregator; the defaults are CAT-Seg's.

    Attributes:
        hidden_dim: D.
        num_layers: spatial + class layers.
        num_heads: heads of both attentions.
        window: side of the spatial attention's windows in cells; must divide the grid.
        pooling: pooling of the class attention (height, width) in training.
        pooling_test: the same at test time.
        attention: class attention, ``"linear"`` or ``"full"``.
        max_classes: per picture, only this many best words are aggregated, and fewer are padded
            with a learned token (in effect, not in work); 0 for neither.
        text_guidance_dim: width of the projected text guidance.
        appearance_guidance_dim: width of the projected picture guidance.
        decoder_dims: widths of the two upsampling stages, multiples of 16.
        decoder_guidance_dims: widths of the guidance maps of the stages.
        decoder_guidance_proj_dims: what these are projected to.
        chunk: words per chunk; 0 for all at once.
        checkpointing: recompute whole layers in the backward pass, their products too.
    """

    hidden_dim: int = 128
    num_layers: int = 2
    num_heads: int = 4
    window: int = 12
    pooling: tuple[int, int] = (2, 2)
    pooling_test: tuple[int, int] = (1, 1)
    attention: str = "linear"
    max_classes: int = 256
    text_guidance_dim: int = 128
    appearance_guidance_dim: int = 128
    decoder_dims: tuple[int, int] = (64, 32)
    decoder_guidance_dims: tuple[int, int] = (256, 128)
    decoder_guidance_proj_dims: tuple[int, int] = (32, 16)
    chunk: int = 8
    checkpointing: bool = False

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built."""
        check_choice("ATTENTION", self.attention, ATTENTIONS)
        if self.hidden_dim % self.num_heads:
            raise UserError(
                f"{self.hidden_dim} hidden channels cannot be shared by {self.num_heads} heads"
            )
        for width in self.decoder_dims:
            if width % 16:
                raise UserError(f"decoder width {width} is no multiple of 16 (group norm)")
        inputs = (self.hidden_dim, *self.decoder_dims)
        for width, guidance in zip(inputs, self.decoder_guidance_proj_dims, strict=False):
            if guidance >= width:
                raise UserError(f"{guidance} guidance channels do not fit into a stage of {width}")


class CostAggregation(nn.Module):
    """CAT-Seg's decoder.

    Args:
        embed_dim: E.
        num_prompts: P.
        settings: sizes and switches.
    """

    def __init__(self, embed_dim: int, num_prompts: int, settings: AggregationSettings) -> None:
        super().__init__()
        self.settings = s = settings
        self.embed = nn.Conv2d(num_prompts, s.hidden_dim, 7, padding=3)
        self.appearance = nn.Conv2d(embed_dim, s.appearance_guidance_dim, 3, padding=1)
        self.text = nn.Linear(embed_dim, s.text_guidance_dim)
        details = zip(s.decoder_guidance_dims, s.decoder_guidance_proj_dims, strict=True)
        self.detail = nn.ModuleList(nn.Conv2d(width, out, 3, padding=1) for width, out in details)
        self.layers = nn.ModuleList(AggregationLayer(s) for _ in range(s.num_layers))
        inputs = (s.hidden_dim, *s.decoder_dims[:-1])
        self.stages = nn.ModuleList(
            UpsampleStage(width, out, guidance)
            for width, out, guidance in zip(
                inputs, s.decoder_dims, s.decoder_guidance_proj_dims, strict=True
            )
        )
        self.head = nn.Conv2d(s.decoder_dims[-1], 1, 3, padding=1)

    def forward(self, image: Tensor, text: Tensor, guidance: Sequence[Tensor]) -> Tensor:
        """Aggregate.

        Args:
            image: (B, E, h, w) dense picture features, not normalised.
            text: (B, K, P, E) or (K, P, E) text features, same for all pictures.
            guidance: what steers the aggregation: (B, E, h, w) for the spatial attention (the image
                features again), (B, G1, 2h, 2w) and (B, G2, 4h, 4w) for the upsampling stages.

        Returns:
            (B, K, 4h, 4w) logits; exactly -100 for words that were not among the best of a picture.

        Raises:
            UserError: if there is no word, or the windows do not tile the grid.
        """
        text = text.expand(image.shape[0], *text.shape[-3:])
        if text.shape[1] < 1:
            raise UserError("there is no class to segment; give at least one word")
        together = torch.is_grad_enabled() or not self.settings.chunk
        if together or known_later(image.shape) or image.shape[0] == 1:
            return self._forward(image, text, *guidance)
        pictures = zip(image.split(1), text.split(1), *(g.split(1) for g in guidance), strict=True)
        return torch.cat([self._forward(*one) for one in pictures])

    def _forward(self, image: Tensor, text: Tensor, near: Tensor, *details: Tensor) -> Tensor:
        words = text.shape[1]
        cost = cost_volume(image, text)
        kept = self._best(cost)
        if kept is not None:
            cost = cost.gather(1, kept[:, :, None, None, None].expand(-1, -1, *cost.shape[2:]))
            # As released: of words that were chosen, the unit vectors are averaged over prompts.
            text = F.normalize(text, dim=-1)
            text = text.gather(1, kept[:, :, None, None].expand(-1, -1, *text.shape[2:]))
        logits = self._aggregate(cost, text, near, details)
        if kept is None:
            return logits
        full = logits.new_full((image.shape[0], words, *logits.shape[2:]), DROPPED)
        return full.scatter(1, kept[:, :, None, None].expand_as(logits), logits)

    def _aggregate(
        self, cost: Tensor, text: Tensor, near: Tensor, details: Sequence[Tensor]
    ) -> Tensor:
        appearance = F.relu(self.appearance(near)).permute(0, 2, 3, 1)  # (B, h, w, G)
        words = F.relu(self.text(F.normalize(text.mean(dim=2), dim=-1)))  # (B, K, G)
        details = [F.relu(conv(g)) for conv, g in zip(self.detail, details, strict=True)]
        x = self._by_words(self._embed, cost)  # (B, K, h, w, D)
        for layer in entries(self.layers, AggregationLayer):
            guides = layer.spatial.guides(appearance)
            x = self._by_words(partial(layer.spatial, guides=guides), x)
            x = self._checkpointed(partial(layer.classes, words=words), x)
        stages = zip(entries(self.stages, UpsampleStage), details, strict=True)
        shared = [stage.share(detail) for stage, detail in stages]
        return self._by_words(partial(self._upsample, shared=shared), x)

    def _embed(self, cost: Tensor) -> Tensor:
        maps = self.embed(cost.flatten(0, 1))  # (B * K, D, h, w)
        cells: Tensor = maps.permute(0, 2, 3, 1).unflatten(0, cost.shape[:2])
        return cells

    def _upsample(self, x: Tensor, shared: Sequence[Tensor]) -> Tensor:
        maps = x.permute(0, 1, 4, 2, 3)  # (B, K, D, h, w)
        for stage, of_all in zip(self.stages, shared, strict=True):
            maps = stage(maps, of_all)
        logits: Tensor = self.head(maps.flatten(0, 1))[:, 0].unflatten(0, x.shape[:2])
        return logits

    def _best(self, cost: Tensor) -> Tensor | None:
        """Indices (B, max_classes) of each picture's best words, or None if there are few."""
        limit = self.settings.max_classes
        if limit and known_later(cost.shape):
            limit = smaller(limit, cost.shape[1])
        elif not limit or cost.shape[1] <= limit:
            return None
        return cost.amax(dim=(2, 3, 4)).topk(limit, dim=1, sorted=False).indices.sort(dim=1).values

    def _by_words(self, run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Run a part that treats words apart, in chunks of words."""
        size = self.settings.chunk or x.shape[1]
        return in_chunks(partial(self._checkpointed, run), x, size, dim=1)

    def _checkpointed(self, run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return recomputed(run, x, all_of_it=self.settings.checkpointing)


class AggregationLayer(nn.Module):
    """One spatial aggregation and one class attention."""

    def __init__(self, settings: AggregationSettings) -> None:
        super().__init__()
        s = settings
        self.spatial = SpatialAggregation(
            s.hidden_dim, s.appearance_guidance_dim, heads=s.num_heads, window=s.window
        )
        self.classes = ClassAttention(
            s.hidden_dim,
            s.text_guidance_dim,
            heads=s.num_heads,
            kind=s.attention,
            pooling=s.pooling,
            pooling_test=s.pooling_test,
            padded_to=s.max_classes,
            chunked=bool(s.chunk),
        )


def cost_volume(image: Tensor, text: Tensor) -> Tensor:
    """Cosine similarity of every cell with every prompt.

    Args:
        image: (B, E, h, w).
        text: (B, K, P, E).

    Returns:
        (B, K, P, h, w) in -1..1.
    """
    return torch.einsum("behw,bkpe->bkphw", F.normalize(image, dim=1), F.normalize(text, dim=-1))
