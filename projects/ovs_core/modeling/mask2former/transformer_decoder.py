"""The masked-attention transformer decoder of Mask2Former with FC-CLIP's class embedding.

No word enters here: the decoder gives masks and class embeddings, which others compare with texts.
Letters: B pictures, Q queries, D width, h x w cells of a level, E joint width, M heads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..scores import Size, size_of
from .class_scores import mask_pool
from .pixel_decoder import PixelFeatures, clear_bias
from .position_encoding import sine_positions


@dataclass(frozen=True)
class Prediction:
    """What one prediction head gives.

    Attributes:
        class_embedding: (B, Q, E), not normalised.
        masks: (B, Q, H / 4, W / 4) logits.
    """

    class_embedding: Tensor
    masks: Tensor


class MaskedLayer(nn.Module):
    """Masked cross-attention, self-attention and feed-forward network, all post-norm.

    Args:
        dim: width D.
        heads: M.
        feedforward: hidden width.
    """

    def __init__(self, dim: int, *, heads: int, feedforward: int) -> None:
        super().__init__()
        self.cross_attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.cross_norm = nn.LayerNorm(dim)
        self.self_attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.self_norm = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, feedforward)
        self.linear2 = nn.Linear(feedforward, dim)
        self.feedforward_norm = nn.LayerNorm(dim)
        for attention in (self.cross_attention, self.self_attention):
            nn.init.xavier_uniform_(attention.out_proj.weight)
        for linear in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(linear.weight)

    def forward(
        self,
        queries: Tensor,
        query_positions: Tensor,
        keys: Tensor,
        memory: Tensor,
        blocked: Tensor,
    ) -> Tensor:
        """Refine queries.

        Args:
            queries: (B, Q, D) content.
            query_positions: (Q, D).
            keys: (B, hw, D) memory with positions.
            memory: (B, hw, D).
            blocked: (B, Q, hw), True where a query must not look.
        """
        attended = run_attention(
            self.cross_attention, queries + query_positions, keys, memory, blocked=blocked
        )
        queries = self.cross_norm(queries + attended)
        placed = queries + query_positions
        queries = self.self_norm(
            queries + run_attention(self.self_attention, placed, placed, queries)
        )
        hidden = self.linear2(F.relu(self.linear1(queries)))
        refined: Tensor = self.feedforward_norm(queries + hidden)
        return refined


def run_attention(
    attention: nn.MultiheadAttention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    blocked: Tensor | None = None,
) -> Tensor:
    """Run an attention module with one mask for all heads (PyTorch's forward copies it M times).

    Args:
        attention: holds the weights.
        query: (B, Q, D).
        key: (B, N, D).
        value: (B, N, D).
        blocked: (B, Q, N), True where attention is forbidden.

    Returns:
        (B, Q, D).
    """
    weights = attention.in_proj_weight.chunk(3)
    biases = attention.in_proj_bias.chunk(3)
    q, k, v = (
        F.linear(x, w, b).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for x, w, b in zip((query, key, value), weights, biases, strict=True)
    )
    allowed = None if blocked is None else ~blocked.unsqueeze(1)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    attended: Tensor = attention.out_proj(out.transpose(1, 2).flatten(2))
    return attended


def attention_mask(mask_embedding: Tensor, mask_features: Tensor) -> Tensor:
    """Which cells of a level a query may not look at.

    Args:
        mask_embedding: (B, Q, D).
        mask_features: (B, D, h, w) at the level's size. Resizing the features and the mask logits
            gives the same, as both steps are linear; the features are far fewer.

    Returns:
        (B, Q, h * w); a query that would see nothing sees everything.
    """
    logits = torch.einsum("bqc,bchw->bqhw", mask_embedding.detach(), mask_features)
    blocked = (logits < 0).flatten(2)  # sigmoid < 0.5
    return blocked & ~blocked.all(dim=-1, keepdim=True)


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    pairs = list(zip(widths[:-1], widths[1:], strict=True))
    modules: list[nn.Module] = []
    for i, (before, after) in enumerate(pairs):
        modules += [nn.Linear(before, after)] + ([nn.ReLU()] if i < len(pairs) - 1 else [])
    return nn.Sequential(*modules)


class MaskedAttentionDecoder(nn.Module):
    """Refine queries against three levels in turn and predict masks and class embeddings.

    Args:
        embed_dim: joint width E of the class embeddings.
        input_dim: width of the memory levels.
        dim: width D of the queries.
        mask_dim: width of the mask features; equals ``dim``, because pooled mask features are added
            to the queries.
        queries: Q.
        layers: attention layers; there is one prediction head more.
        heads: M.
        feedforward: hidden width.
    """

    def __init__(
        self,
        *,
        embed_dim: int,
        input_dim: int = 256,
        dim: int = 256,
        mask_dim: int = 256,
        queries: int = 100,
        layers: int = 9,
        heads: int = 8,
        feedforward: int = 2048,
    ) -> None:
        super().__init__()
        self.query_feat = nn.Embedding(queries, dim)
        self.query_embed = nn.Embedding(queries, dim)
        self.level_embed = nn.Embedding(3, dim)
        self.input_proj = nn.ModuleList(_fit(input_dim, dim) for _ in range(3))
        self.layers = nn.ModuleList(
            MaskedLayer(dim, heads=heads, feedforward=feedforward) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)
        self.mask_embed = mlp(dim, dim, dim, mask_dim)
        self.pooling_proj = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim))
        self.class_embed = mlp(dim, dim, dim, embed_dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @property
    def num_queries(self) -> int:
        """Q."""
        return self.query_feat.num_embeddings

    def forward(self, features: PixelFeatures, *, every_head: bool = False) -> list[Prediction]:
        """Predict.

        Args:
            features: of the pixel decoder.
            every_head: whether the auxiliary heads predict too, as the losses need; without them
                only their attention masks are computed.

        Returns:
            The predictions of all heads in order, or of the last one alone.
        """
        memories, keys, guides = self._prepare(features)
        batch = features.mask_features.shape[0]
        queries = self.query_feat.weight.expand(batch, -1, -1)
        predictions = []
        for i, layer in enumerate(self.layers):
            normed = self.norm(queries)
            embedding = self.mask_embed(normed)
            if every_head:
                predictions.append(self._predict(normed, embedding, features.mask_features))
            level = i % len(memories)
            blocked = attention_mask(embedding, guides[level])
            queries = layer(queries, self.query_embed.weight, keys[level], memories[level], blocked)
        normed = self.norm(queries)
        last = self._predict(normed, self.mask_embed(normed), features.mask_features)
        return [*predictions, last]

    def _prepare(self, features: PixelFeatures) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Memory, keys and resized mask features of every level."""
        memories, keys, guides = [], [], []
        for level, project, embed in zip(
            features.levels, self.input_proj, self.level_embed.weight, strict=True
        ):
            memory = project(level).flatten(2).transpose(1, 2) + embed
            size = size_of(level)
            positions = sine_positions(size, memory.shape[-1], device=memory.device)
            memories.append(memory)
            keys.append(memory + positions.flatten(1).t())
            guides.append(resize_features(features.mask_features.detach(), size))
        return memories, keys, guides

    def _predict(self, normed: Tensor, mask_embedding: Tensor, mask_features: Tensor) -> Prediction:
        masks = torch.einsum("bqc,bchw->bqhw", mask_embedding, mask_features)
        pooled = self.pooling_proj(mask_pool(mask_features, masks))
        return Prediction(self.class_embed(pooled + normed), masks)


def resize_features(maps: Tensor, size: Size) -> Tensor:
    """Bilinear resize of (B, C, h, w) maps."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def _fit(before: int, after: int) -> nn.Module:
    if before == after:
        return nn.Identity()
    convolution = nn.Conv2d(before, after, 1)
    nn.init.kaiming_uniform_(convolution.weight, a=1)
    clear_bias(convolution)
    return convolution
