"""Class aggregation of a cost volume: attention of the words of each cell.

Letters: B pictures, K words, D hidden width, G guidance width, h x w grid, n heads, d = D / n.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from ..tensor.resampling import known_later, larger
from .cost_cells import ONEDNN_MAPS, CellMLP, GuidedAttention, in_chunks

CHUNK_BYTES = 8 * 2**20  # of queries, keys and values in a chunk of cells


def elu_plus_one(x: Tensor) -> Tensor:
    """``elu(x) + 1``, without the slow and here pointless ``expm1`` of ``F.elu``."""
    return F.relu(x) + x.clamp(max=0).exp()


class ClassAttention(GuidedAttention):
    """Attention over the words of each cell; queries and keys also see the word's embedding.

    A vocabulary smaller than ``padded_to`` is filled up with copies of a learned token, as in
    training with few words. All copies are equal, so one is computed and counted as often as it
    would stand.

    Args:
        width: D.
        guidance: G.
        heads: n.
        kind: ``"linear"`` or ``"full"``.
        pooling: cells that share one attention in training (height, width).
        pooling_test: the same at test time.
        padded_to: number of words with padding; 0 for no padding.
        chunked: whether cells are worked through in chunks when no gradient is needed.
    """

    def __init__(
        self,
        width: int,
        guidance: int,
        *,
        heads: int,
        kind: str,
        pooling: tuple[int, int],
        pooling_test: tuple[int, int],
        padded_to: int,
        chunked: bool = True,
    ) -> None:
        super().__init__(width, guidance, heads)
        self.kind, self.chunked = kind, chunked
        self.pooling, self.pooling_test, self.padded_to = pooling, pooling_test, padded_to
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = CellMLP(width, nn.ReLU())
        if padded_to:
            self.padding_token = nn.Parameter(torch.zeros(width))
            self.padding_guidance = nn.Parameter(torch.zeros(guidance))

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        """Let the words of each cell see each other.

        Args:
            x: (B, K, h, w, D).
            words: (B, K, G) text guidance.

        Returns:
            (B, K, h, w, D).
        """
        pooling = self.pooling if self.training else self.pooling_test
        shared = self.share(words)[:, None]
        if pooling == (1, 1):
            cells = self._in_chunks(lambda z: z + self._attend(z, shared), x.flatten(2, 3))
            return cells.reshape(x.shape)
        pooled = self._pool(x, pooling)
        z = self._in_chunks(lambda z: self._attend(z, shared), pooled.flatten(2, 3))
        return x + self._unpool(z.reshape(pooled.shape), (x.shape[2], x.shape[3]))

    def _in_chunks(self, run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Run over (B, K, cells, D), in chunks of cells if no gradient is needed."""
        if not self.chunked or torch.is_grad_enabled():
            return run(x)
        size = CHUNK_BYTES // (12 * x[:, :, 0].numel())  # queries, keys and values
        size = max(1, size - size % ONEDNN_MAPS if size > ONEDNN_MAPS else size)
        return in_chunks(run, x, size, dim=2)

    def _attend(self, z: Tensor, shared: Tensor) -> Tensor:
        """(B, K, cells, D), with ``share``'s (B, 1, K, 2 D) -> same shape, residuals included."""
        z = z.transpose(1, 2)
        q, k, v = self.project(self.norm1(z), shared)
        missing = self._missing(z.shape[2])
        padding = None if isinstance(missing, int) and not missing else self._padding()
        attention = self._linear if self.kind == "linear" else self._full
        z = z + attention(q, k, v, padding, missing).transpose(2, 3).flatten(3)
        z = z + self.mlp(self.norm2(z))
        return z.transpose(1, 2)

    @staticmethod
    def _linear(
        q: Tensor, k: Tensor, v: Tensor, padding: tuple[Tensor, Tensor] | None, missing: int
    ) -> Tensor:
        """Linear attention: sums over words first, so the cost grows with K, not K^2."""
        # Sums over many words leave half precision's range.
        with torch.autocast(q.device.type, enabled=False):
            q, k, v = elu_plus_one(q.float()), elu_plus_one(k.float()), v.float()
            keys = k.sum(dim=-2)  # (B, cells, n, d)
            products = k.transpose(-2, -1) @ v  # (B, cells, n, d, d)
            if padding is not None:
                key, value = elu_plus_one(padding[0].float()), padding[1].float()
                keys = keys + missing * key[:, 0]
                products = products + missing * (key.transpose(-2, -1) @ value)
            total = (q @ keys[..., None]) + 1e-6
            return (q @ products) / total

    @staticmethod
    def _full(
        q: Tensor, k: Tensor, v: Tensor, padding: tuple[Tensor, Tensor] | None, missing: int
    ) -> Tensor:
        """Softmax attention; the padding is one key with the weight of all its copies."""
        mask = None
        if padding is not None:
            shape = (*k.shape[:3], 1, k.shape[-1])
            k = torch.cat([k, padding[0].expand(shape)], dim=-2)
            v = torch.cat([v, padding[1].expand(shape)], dim=-2)
            mask = torch.zeros(k.shape[-2], device=q.device, dtype=q.dtype)
            mask[-1] = math.log(missing)
            mask = mask.expand(q.shape[-2], -1)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    def _missing(self, words: int) -> int:
        """How many copies of the padding token stand beside the words."""
        if not self.padded_to:
            return 0
        if not known_later([words]):
            return max(self.padded_to - words, 0)
        if self.kind != "linear":
            raise UserError("full attention over padded words depends on how many there are")
        return larger(self.padded_to - words, 0)

    def _padding(self) -> tuple[Tensor, Tensor]:
        """Key and value of the padding token, (n, 1, d)."""
        token = self.norm1(self.padding_token)
        _, key, value = self.project(token[None], self.share(self.padding_guidance[None]))
        return key, value

    @staticmethod
    def _pool(x: Tensor, pooling: tuple[int, int]) -> Tensor:
        maps = F.avg_pool2d(x.permute(0, 1, 4, 2, 3).flatten(0, 1), pooling)
        pooled: Tensor = maps.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])
        return pooled

    @staticmethod
    def _unpool(z: Tensor, size: tuple[int, int]) -> Tensor:
        maps = z.permute(0, 1, 4, 2, 3).flatten(0, 1)
        # align_corners as released: only here, unlike every other resize of the method.
        maps = F.interpolate(maps, size=size, mode="bilinear", align_corners=True)
        spread: Tensor = maps.permute(0, 2, 3, 1).unflatten(0, z.shape[:2])
        return spread
