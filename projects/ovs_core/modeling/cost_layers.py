"""The parts of cost aggregation: windowed attention, attention over words, guided upsampling.

Letters: B pictures, K words, D hidden width, G guidance width, h x w grid, n heads, d = D / n.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError

MASKED = -100.0  # added between windows' regions that are not neighbours, as Swin does
PIXEL_CHUNK_BYTES = 32 * 2**20


def guided_linear(linear: nn.Linear, x: Tensor, guidance: Tensor) -> Tensor:
    """``linear(concat[x, guidance])`` where the guidance is shared by many x.

    Args:
        linear: takes D + G channels.
        x: (..., D).
        guidance: (..., G), broadcastable.

    Returns:
        (..., out).
    """
    width = x.shape[-1]
    shared = F.linear(guidance, linear.weight[:, width:], linear.bias)
    return F.linear(x, linear.weight[:, :width]) + shared


class WindowAttention(nn.Module):
    """Attention within square windows; queries and keys also see the picture.

    Args:
        width: D.
        guidance: G.
        heads: n.
    """

    def __init__(self, width: int, guidance: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width + guidance, width)
        self.k = nn.Linear(width + guidance, width)
        self.v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, guidance: Tensor, *, window: int, shift: int) -> Tensor:
        """Attend.

        Args:
            x: (B, K, h, w, D) normalised cells.
            guidance: (B, 1, h, w, G) normalised picture guidance.
            window: side of a window.
            shift: cyclic shift of the windows.

        Returns:
            (B, K, h, w, D).
        """
        q = guided_linear(self.q, x, guidance)
        k = guided_linear(self.k, x, guidance)
        parts = [self._windows(part, window, shift) for part in (q, k, self.v(x))]
        mask = None
        if shift:
            mask = shift_mask(x.shape[2:4], window, shift, x.device, q.dtype)
            mask = mask.repeat_interleave(self.heads, dim=0)
        attended = F.scaled_dot_product_attention(*parts, attn_mask=mask)
        return self.proj(self._grid(attended, x.shape, window, shift))

    def _windows(self, x: Tensor, window: int, shift: int) -> Tensor:
        """(B, K, h, w, D) -> (B * K, windows * n, window^2, d): windows stand beside heads."""
        if shift:
            x = x.roll((-shift, -shift), dims=(2, 3))
        b, k, h, w, _ = x.shape
        x = x.view(b * k, h // window, window, w // window, window, self.heads, -1)
        x = x.permute(0, 1, 3, 5, 2, 4, 6)  # (BK, rows, columns, n, window, window, d)
        return x.flatten(4, 5).flatten(1, 3)

    def _grid(self, x: Tensor, shape: torch.Size, window: int, shift: int) -> Tensor:
        """Undo ``_windows``."""
        h, w = shape[2:4]
        x = x.unflatten(1, (h // window, w // window, self.heads)).unflatten(4, (window, window))
        x = x.permute(0, 1, 4, 2, 5, 3, 6).reshape(shape)
        return x.roll((shift, shift), dims=(2, 3)) if shift else x


def shift_mask(
    grid: tuple[int, int], window: int, shift: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Keep shifted windows from attending across the border of the grid.

    Args:
        grid: (h, w).
        window: side of a window.
        shift: cyclic shift.
        device: of the result.
        dtype: of the result.

    Returns:
        (windows, window^2, window^2): 0 within a region, -100 between regions.
    """
    marks = []
    for side in grid:
        mark = torch.zeros(side, device=device)
        mark[side - window : side - shift] = 1
        mark[side - shift :] = 2
        marks.append(mark)
    regions = marks[0][:, None] * 3 + marks[1][None, :]
    rows, columns = grid[0] // window, grid[1] // window
    regions = regions.view(rows, window, columns, window).transpose(1, 2)
    regions = regions.reshape(rows * columns, -1)
    differ = regions[:, :, None] != regions[:, None, :]
    return torch.zeros(differ.shape, device=device, dtype=dtype).masked_fill(differ, MASKED)


class SwinBlock(nn.Module):
    """Pre-norm windowed attention and MLP.

    Args:
        width: D.
        guidance: G.
        heads: n.
    """

    def __init__(self, width: int, guidance: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, guidance, heads)
        self.norm2 = nn.LayerNorm(width)
        inner = 4 * width
        self.mlp = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))

    def forward(self, x: Tensor, guidance: Tensor, *, window: int, shift: int) -> Tensor:
        """(B, K, h, w, D) -> same shape."""
        x = x + self.attn(self.norm1(x), guidance, window=window, shift=shift)
        return x + self.mlp(self.norm2(x))


class SpatialAggregation(nn.Module):
    """Two windowed blocks per word, the second with shifted windows.

    Args:
        width: D.
        guidance: G.
        heads: n.
        window: side of a window in cells.
    """

    def __init__(self, width: int, guidance: int, *, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.guidance_norm = nn.LayerNorm(guidance)
        self.blocks = nn.ModuleList(SwinBlock(width, guidance, heads) for _ in range(2))

    def forward(self, x: Tensor, appearance: Tensor) -> Tensor:
        """Smooth each word's map.

        Args:
            x: (B, K, h, w, D).
            appearance: (B, h, w, G) picture guidance.

        Returns:
            (B, K, h, w, D).

        Raises:
            UserError: if windows do not tile the grid.
        """
        h, w = x.shape[2:4]
        window, shift = self.window, self.window // 2
        if min(h, w) <= window:
            window, shift = min(h, w), 0
        if h % window or w % window:
            raise UserError(
                f"a grid of {h} x {w} cells cannot be tiled by windows of {window}; choose "
                "MODEL.CATSEG.WINDOW or MODEL.CATSEG.IMAGE_SIZE so that it can"
            )
        guidance = self.guidance_norm(appearance)[:, None]
        for block, offset in zip(self.blocks, (0, shift), strict=True):
            x = block(x, guidance, window=window, shift=offset)
        return x


class ClassAttention(nn.Module):
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
        super().__init__()
        self.heads, self.kind, self.chunked = heads, kind, chunked
        self.pooling, self.pooling_test, self.padded_to = pooling, pooling_test, padded_to
        self.norm1 = nn.LayerNorm(width)
        self.q = nn.Linear(width + guidance, width)
        self.k = nn.Linear(width + guidance, width)
        self.v = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        inner = 4 * width
        self.mlp = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width))
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
        b, k, h, w, _ = x.shape
        pooling = self.pooling if self.training else self.pooling_test
        pooled = pooling != (1, 1)
        cells = self._pool(x, pooling) if pooled else x
        shape = cells.shape
        cells = cells.flatten(2, 3).transpose(1, 2)  # (B, cells, K, D)
        count = cells.shape[1]
        if self.chunked and not torch.is_grad_enabled():
            # The widest intermediate is the MLP's, 4 D numbers per word and cell.
            count = max(1, PIXEL_CHUNK_BYTES // (16 * b * k * cells.shape[-1]))
        parts = [self._attend(part, words) for part in cells.split(count, dim=1)]
        z = torch.cat(parts, dim=1).transpose(1, 2).reshape(shape)
        return x + (self._unpool(z, (h, w)) if pooled else z)

    def _attend(self, z: Tensor, words: Tensor) -> Tensor:
        """(B, cells, K, D) -> same shape, residuals included."""
        y = self.norm1(z)
        guidance = words[:, None]
        q = self._split(guided_linear(self.q, y, guidance))
        k = self._split(guided_linear(self.k, y, guidance))
        v = self._split(self.v(y))
        missing = max(self.padded_to - z.shape[2], 0)
        padding = self._padding() if missing else None
        attention = self._linear if self.kind == "linear" else self._full
        z = z + attention(q, k, v, padding, missing).transpose(2, 3).flatten(3)
        return z + self.mlp(self.norm2(z))

    @staticmethod
    def _linear(
        q: Tensor, k: Tensor, v: Tensor, padding: tuple[Tensor, Tensor] | None, missing: int
    ) -> Tensor:
        """Linear attention: sums over words first, so the cost grows with K, not K^2."""
        # Sums over many words leave half precision's range.
        with torch.autocast(q.device.type, enabled=False):
            q, k, v = F.elu(q.float()) + 1, F.elu(k.float()) + 1, v.float()
            keys = k.sum(dim=-2)  # (B, cells, n, d)
            products = k.transpose(-2, -1) @ v  # (B, cells, n, d, d)
            if padding is not None:
                key, value = F.elu(padding[0].float()) + 1, padding[1].float()
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

    def _padding(self) -> tuple[Tensor, Tensor]:
        """Key and value of the padding token, (n, 1, d)."""
        token = self.norm1(self.padding_token)
        key = guided_linear(self.k, token, self.padding_guidance)
        return key.view(self.heads, 1, -1), self.v(token).view(self.heads, 1, -1)

    def _split(self, x: Tensor) -> Tensor:
        """(B, cells, K, D) -> (B, cells, n, K, d)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(2, 3)

    @staticmethod
    def _pool(x: Tensor, pooling: tuple[int, int]) -> Tensor:
        maps = F.avg_pool2d(x.permute(0, 1, 4, 2, 3).flatten(0, 1), pooling)
        return maps.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])

    @staticmethod
    def _unpool(z: Tensor, size: tuple[int, int]) -> Tensor:
        maps = z.permute(0, 1, 4, 2, 3).flatten(0, 1)
        # align_corners as released: only here, unlike every other resize of the method.
        maps = F.interpolate(maps, size=size, mode="bilinear", align_corners=True)
        return maps.permute(0, 2, 3, 1).unflatten(0, z.shape[:2])


class UpsampleStage(nn.Module):
    """Double the resolution of every word's map and refine it with picture guidance.

    Args:
        width: channels that come in.
        out: channels that go out.
        guidance: channels of the guidance.
    """

    def __init__(self, width: int, out: int, guidance: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(width, width - guidance, 2, stride=2)
        self.conv1 = nn.Conv2d(width, out, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(out // 16, out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(out // 16, out)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """(B, K, width, h, w) maps and (B, guidance, 2h, 2w) -> (B, K, out, 2h, 2w)."""
        maps = self.up(x.flatten(0, 1))
        own = maps.shape[1]
        # A convolution of a concatenation is a sum of two; the guidance's is shared by all words.
        shared = F.conv2d(guidance, self.conv1.weight[:, own:], padding=1)
        maps = F.conv2d(maps, self.conv1.weight[:, :own], padding=1)
        maps = (maps.unflatten(0, x.shape[:2]) + shared[:, None]).flatten(0, 1)
        maps = F.relu(self.norm1(maps))
        return F.relu(self.norm2(self.conv2(maps))).unflatten(0, x.shape[:2])
