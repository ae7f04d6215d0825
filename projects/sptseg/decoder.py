"""Mask decoders: class queries that look at patch features; their logits are the masks.

ZegCLIP's cross-attention and SPT-SEG's spectral-guided attention plug into the same layer. What
depends on the picture alone (``memory``) is kept apart from what needs the words.

Letters: B pictures, K classes, N = h * w patches, D joint width.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.modeling.per_picture import Dropout, picture_by_picture
from ovs_core.modeling.scores import size_of

from .hilo import Grid, HighLowAttention

INITS = ("default", "trunc_normal", "clip")
GATES = ("random", "patches")


class QueryAttention(Protocol):
    """How class queries look at patches."""

    def memory(self, patches: Tensor, grid: Grid) -> Any:
        """(B, N, D) patches -> what the queries look at; does not depend on them."""

    def logits(self, query: Tensor, memory: Any) -> Tensor:
        """(B, K, D) queries -> (B, K, N) mask logits."""

    def attend(self, query: Tensor, memory: Any) -> Tensor:
        """(B, K, D) queries -> (B, K, D), what they gather."""

    def start_as_clip(self) -> None:
        """Set weights so that logits are inner products of words and patches."""


class CrossAttention(nn.Module):
    """ZegCLIP: multi-head cross-attention; mask logits are its scores averaged over the heads.

    Args:
        dim: D.
        heads: number of heads.
        dropout: on the attention weights.
    """

    def __init__(self, dim: int, *, heads: int = 8, dropout: float = 0.1) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.value, self.project = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def memory(self, patches: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """Keys and patches, both (B, N, D)."""
        return self.key(patches), patches

    def logits(self, query: Tensor, memory: tuple[Tensor, Tensor]) -> Tensor:
        """Mean over heads of the scaled products: one product over the full width."""
        scale = (query.shape[-1] / self.heads) ** -0.5 / self.heads
        return scale * self.query(query) @ memory[0].transpose(1, 2)

    @torch.no_grad()
    def start_as_clip(self) -> None:
        """Start with plain inner products for logits, and with nothing gathered."""
        scale = (self.query.in_features / self.heads) ** 0.5 * self.heads
        for linear, factor in ((self.query, scale), (self.key, 1.0), (self.project, 0.0)):
            linear.weight.copy_(factor * torch.eye(linear.in_features))
            linear.bias.zero_()

    def attend(self, query: Tensor, memory: tuple[Tensor, Tensor]) -> Tensor:
        """Weighted values behind the output projection."""
        parts = (self.query(query), memory[0], self.value(memory[1]))
        q, k, v = (p.unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in parts)
        if self.training and self.dropout:
            attention = partial(F.scaled_dot_product_attention, dropout_p=self.dropout)
            mixed = picture_by_picture(attention, q, k, v)
        else:
            mixed = F.scaled_dot_product_attention(q, k, v)
        return self.project(mixed.transpose(1, 2).flatten(2))


class SpectralGuidedAttention(nn.Module):
    """SPT-SEG: queries are compared with patches that went through high/low attention and a gate.

    Args:
        dim: D.
        mixer: high/low-frequency self-attention.
        dropout: on the attention weights.
    """

    def __init__(self, dim: int, *, mixer: HighLowAttention, dropout: float = 0.1) -> None:
        super().__init__()
        self.mixer = mixer
        self.gate = nn.Parameter(torch.randn(dim))  # the paper's xi
        self.transform = nn.Parameter(torch.eye(dim))  # the paper's P
        self.dropout = Dropout(dropout)
        self.project = nn.Linear(dim, dim)

    def memory(self, patches: Tensor, grid: Grid) -> Tensor:
        """Mix, gate by the cosine with xi clamped to 0..1, transform: (B, N, D)."""
        mixed = self.mixer(patches, grid)
        cosine = F.normalize(mixed, dim=-1) @ F.normalize(self.gate, dim=0)
        return cosine.clamp(0, 1)[..., None] * mixed @ self.transform

    @torch.no_grad()
    def start_as_clip(self) -> None:
        """Start with a mixer that averages like patches, and with nothing gathered."""
        self.mixer.start_as_average()
        self.project.weight.zero_()
        self.project.bias.zero_()

    def mixed_means(self, patches: Tensor, grid: Grid) -> Tensor:
        """Mean of each picture's mixed patches: (B, N, D) -> (B, D)."""
        mixed: Tensor = self.mixer(patches, grid)
        return mixed.mean(dim=1)

    @torch.no_grad()
    def open_gate(self, mean: Tensor) -> None:
        """Turn xi towards a mean (D,) of mixed patches; its length stays."""
        self.gate.copy_(F.normalize(mean, dim=0) * self.gate.norm())

    def logits(self, query: Tensor, memory: Tensor) -> Tensor:
        """Plain inner products: neither scale nor projection."""
        return query @ memory.transpose(1, 2)

    def attend(self, query: Tensor, memory: Tensor) -> Tensor:
        """Patches weighted by the softmax of the mask logits, behind the output projection."""
        weights = self.dropout(torch.softmax(self.logits(query, memory), dim=-1))
        return self.project(weights @ memory)


class DecoderLayer(nn.Module):
    """Attention and feed-forward, each with a norm behind; classes do not see each other.

    Args:
        attention: ``CrossAttention`` or ``SpectralGuidedAttention``.
        dim: D.
        feedforward: hidden width.
        dropout: behind the attention, in and behind the feed-forward.
    """

    attention: QueryAttention

    def __init__(
        self, attention: QueryAttention, *, dim: int, feedforward: int, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.attention = attention
        self.expand, self.reduce = nn.Linear(dim, feedforward), nn.Linear(feedforward, dim)
        self.attention_norm, self.feedforward_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = Dropout(dropout)

    def forward(self, query: Tensor, memory: Any) -> Tensor:
        """Give the next layer's queries: (B, K, D) -> (B, K, D)."""
        gathered = self.attention.attend(query, memory)
        query = self.attention_norm(query + self.dropout(gathered))
        hidden = self.dropout(F.relu(self.expand(query)))
        return self.feedforward_norm(query + self.dropout(self.reduce(hidden)))


class MaskDecoder(nn.Module):
    """Relationship descriptor and decoder layers; the last layer's logits are the masks.

    Args:
        dim: joint width D.
        make_layer: builds one layer; the others start as its copies.
        layers: number of layers.
        init: ``default`` (PyTorch's), ``trunc_normal`` for weights of std 0.02 and zero biases, or
            ``clip``: words are compared with patches as CLIP does it, and training starts there.
        scale: of the masks' logits; with a bias it is trained, without one it must be 1.
        bias: of the masks' logits, or None for none.
    """

    def __init__(
        self,
        dim: int,
        make_layer: Callable[[], DecoderLayer],
        *,
        layers: int = 3,
        init: str = "default",
        scale: float = 1.0,
        bias: float | None = None,
    ) -> None:
        super().__init__()
        self.affine = None if bias is None else nn.Parameter(torch.tensor([scale, bias]))
        self.query = nn.Linear(2 * dim, dim)
        first = make_layer()
        self.layers = nn.ModuleList([first, *(copy.deepcopy(first) for _ in range(layers - 1))])
        if init == "trunc_normal":
            self.apply(_truncated_normal)
        if init == "clip":
            self._start_as_clip()

    def memories(self, patches: Tensor) -> list[Any]:
        """Each layer's memory of (B, D, h, w) patch features."""
        tokens, grid = patches.flatten(2).transpose(1, 2), size_of(patches)
        return [attention.memory(tokens, grid) for attention in self._attentions()]

    def forward(self, cls: Tensor, memories: list[Any], text: Tensor) -> Tensor:
        """Score every class at every patch.

        Args:
            cls: (B, D) unit CLS features.
            memories: from ``memories``.
            text: (K, D) unit class embeddings.

        Returns:
            (B, K, N) mask logits.
        """
        query = self.query(describe(cls, text))
        for layer, memory in zip(self.layers[:-1], memories[:-1], strict=True):
            query = layer(query, memory)
        # The last layer's own query update would change nothing.
        logits = self._attentions()[-1].logits(query, memories[-1])
        return logits if self.affine is None else self.affine[0] * logits + self.affine[1]

    def gates(self) -> list[SpectralGuidedAttention]:
        """The attentions that have a gate, by layer."""
        return [a for a in self._attentions() if isinstance(a, SpectralGuidedAttention)]

    @torch.no_grad()
    def _start_as_clip(self) -> None:
        """Make the query the word itself and every residual branch empty."""
        dim = self.query.out_features
        self.query.weight.copy_(torch.cat([torch.zeros(dim, dim), torch.eye(dim)], dim=1))
        self.query.bias.zero_()
        for layer in self._layers():
            layer.attention.start_as_clip()
            layer.reduce.weight.zero_()
            layer.reduce.bias.zero_()

    def _attentions(self) -> list[QueryAttention]:
        return [layer.attention for layer in self._layers()]

    def _layers(self) -> list[DecoderLayer]:
        # nn.ModuleList does not say what it holds.
        return [layer for layer in self.layers if isinstance(layer, DecoderLayer)]


def describe(cls: Tensor, text: Tensor) -> Tensor:
    """Relationship descriptor ``[t * g; t]``: (B, D) and (K, D) -> (B, K, 2D)."""
    text = text.to(cls.dtype)
    return torch.cat([text * cls[:, None], text.expand(cls.shape[0], -1, -1)], dim=-1)


def _truncated_normal(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
