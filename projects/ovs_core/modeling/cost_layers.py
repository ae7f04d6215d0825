"""The parts of cost aggregation: windowed attention, attention over words, guided upsampling.

Cells keep their channels last throughout: convolutions read that layout as it is, and no copy is
made between attention and convolution.

Letters: B pictures, K words, D hidden width, G guidance width, h x w grid, n heads, d = D / n,
L cells of a window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError

MASKED = -100.0  # added between windows' regions that are not neighbours, as Swin does
ONEDNN_MAPS = 16  # from so many maps on PyTorch gives 1 x 1 convolutions to oneDNN on one thread
CELL_CHUNK_BYTES = 8 * 2**20  # of the projections in a chunk of cells: what a cache holds
MLP_CELLS = 1024  # cells that go through an MLP at a time on the CPU, for the same reason


def cell_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear`` for many cells.

    On the CPU it goes through a 1 x 1 convolution: same sums, but oneDNN's kernels, which are twice
    as fast as the BLAS of PyTorch's builds on some processors and as fast on others.

    Args:
        x: (..., in).
        weight: (out, in).
        bias: (out,).

    Returns:
        (..., out).
    """
    cells = x.numel() // x.shape[-1]
    if x.device.type != "cpu" or cells == 0 or cells % ONEDNN_MAPS:
        return F.linear(x, weight, bias)
    maps = x.reshape(ONEDNN_MAPS, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)  # channels last
    maps = F.conv2d(maps, weight[:, :, None, None], bias)
    return maps.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


class CellLinear(nn.Linear):
    """``nn.Linear`` through ``cell_linear``."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., L, in) -> (..., L, out)."""
        return cell_linear(x, self.weight, self.bias)


class CellMLP(nn.Sequential):
    """Two linear layers around an activation, four times as wide inside.

    Args:
        width: D.
        activation: between the layers.
    """

    def __init__(self, width: int, activation: nn.Module) -> None:
        super().__init__(CellLinear(width, 4 * width), activation, CellLinear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., L, D) -> same shape."""
        if torch.is_grad_enabled() or x.device.type != "cpu":
            return super().forward(x)
        return in_chunks(super().forward, x.flatten(0, -2), MLP_CELLS, dim=0).view(x.shape)


def in_chunks(run: Callable[[Tensor], Tensor], x: Tensor, size: int, dim: int) -> Tensor:
    """Apply a function that treats an axis' entries apart to chunks of them; for no gradients.

    Args:
        run: keeps the extent of the axis.
        x: any shape.
        size: entries per chunk.
        dim: the axis.

    Returns:
        What ``run(x)`` would give.
    """
    if size >= x.shape[dim]:
        return run(x)
    result = None
    for start in range(0, x.shape[dim], size):
        part = run(x.narrow(dim, start, min(size, x.shape[dim] - start)))
        if result is None:
            shape = list(part.shape)
            shape[dim] = x.shape[dim]
            result = part.new_empty(shape)
        result.narrow(dim, start, part.shape[dim]).copy_(part)
    return result


class GuidedAttention(nn.Module):
    """Projections to queries, keys and values, where queries and keys also see a guidance.

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

    def share(self, guidance: Tensor) -> Tensor:
        """Compute what queries and keys get from the guidance: (..., G) -> (..., 2 D)."""
        width = self.v.in_features
        weight = torch.cat([self.q.weight[:, width:], self.k.weight[:, width:]])
        return F.linear(guidance, weight, torch.cat([self.q.bias, self.k.bias]))

    def project(self, x: Tensor, shared: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project to all three at once.

        Args:
            x: (..., L, D).
            shared: (..., L, 2 D) from ``share``, broadcastable.

        Returns:
            Queries, keys and values, each (..., n, L, d).
        """
        width = x.shape[-1]
        parts = self.q.weight[:, :width], self.k.weight[:, :width], self.v.weight
        joint = cell_linear(x, torch.cat(parts), F.pad(self.v.bias, (2 * width, 0)))
        q, k = (joint[..., : 2 * width] + shared).chunk(2, dim=-1)
        v = joint[..., 2 * width :]
        return tuple(part.unflatten(-1, (self.heads, -1)).transpose(-3, -2) for part in (q, k, v))


class WindowAttention(GuidedAttention):
    """Attention within square windows; queries and keys also see the picture.

    Args:
        width: D.
        guidance: G.
        heads: n.
    """

    def __init__(self, width: int, guidance: int, heads: int) -> None:
        super().__init__(width, guidance, heads)
        self.proj = CellLinear(width, width)

    def forward(self, x: Tensor, shared: Tensor, mask: Tensor | None) -> Tensor:
        """Attend.

        Args:
            x: (B, K, windows, L, D) normalised cells.
            shared: (B, 1, windows, L, 2 D) from ``share``.
            mask: (windows, L, L), added to the logits.

        Returns:
            (B, K, windows, L, D).
        """
        q, k, v = (part.flatten(0, 2) for part in self.project(x, shared))
        if mask is not None:  # every head of every word sees it
            mask = mask.to(q.dtype).repeat(len(q) // len(mask), 1, 1)[:, None]
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(attended.transpose(1, 2).reshape(x.shape))


def to_windows(x: Tensor, window: int, shift: int) -> Tensor:
    """Cut grids into windows: (B, K, h, w, C) -> (B, K, windows, window^2, C).

    Args:
        x: grids; the window divides h and w.
        window: side of a window.
        shift: cyclic shift of the grid before.
    """
    if shift:
        x = x.roll((-shift, -shift), dims=(2, 3))
    x = x.unflatten(3, (-1, window)).unflatten(2, (-1, window))
    return x.transpose(3, 4).flatten(4, 5).flatten(2, 3)


def from_windows(x: Tensor, grid: tuple[int, int], window: int, shift: int) -> Tensor:
    """Undo ``to_windows``: (B, K, windows, window^2, C) -> (B, K, h, w, C)."""
    x = x.unflatten(3, (window, window)).unflatten(2, (-1, grid[1] // window))
    x = x.transpose(3, 4).flatten(4, 5).flatten(2, 3)
    return x.roll((shift, shift), dims=(2, 3)) if shift else x


def shift_mask(grid: tuple[int, int], window: int, shift: int, device: torch.device) -> Tensor:
    """Keep shifted windows from attending across the border of the grid.

    Args:
        grid: (h, w).
        window: side of a window.
        shift: cyclic shift.
        device: of the result.

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
    return torch.zeros(differ.shape, device=device).masked_fill(differ, MASKED)


@dataclass(frozen=True)
class WindowGuide:
    """What all words share in a block of windowed attention.

    Attributes:
        window: side of a window.
        shift: cyclic shift of the windows.
        shared: (B, 1, windows, L, 2 D), the picture's part of queries and keys.
        mask: (windows, L, L) of shifted windows.
    """

    window: int
    shift: int
    shared: Tensor
    mask: Tensor | None


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
        self.mlp = CellMLP(width, nn.GELU())

    def guide(self, guidance: Tensor, window: int, shift: int) -> WindowGuide:
        """Compute what words share, from (B, h, w, G) normalised picture guidance."""
        shared = to_windows(self.attn.share(guidance)[:, None], window, shift)
        mask = shift_mask(guidance.shape[1:3], window, shift, guidance.device) if shift else None
        return WindowGuide(window, shift, shared, mask)

    def forward(self, x: Tensor, guide: WindowGuide) -> Tensor:
        """(B, K, h, w, D) -> same shape."""
        grid = tuple(x.shape[2:4])
        x = to_windows(x, guide.window, guide.shift)
        x = x + self.attn(self.norm1(x), guide.shared, guide.mask)
        x = x + self.mlp(self.norm2(x))
        return from_windows(x, grid, guide.window, guide.shift)


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

    def guides(self, appearance: Tensor) -> list[WindowGuide]:
        """Compute what words share, from (B, h, w, G) picture guidance.

        Raises:
            UserError: if windows do not tile the grid.
        """
        h, w = appearance.shape[1:3]
        window, shift = self.window, self.window // 2
        if min(h, w) <= window:
            window, shift = min(h, w), 0
        if h % window or w % window:
            raise UserError(
                f"a grid of {h} x {w} cells cannot be tiled by windows of {window}; choose "
                "MODEL.CATSEG.WINDOW or MODEL.CATSEG.IMAGE_SIZE so that it can"
            )
        guidance = self.guidance_norm(appearance)
        shifts = zip(self.blocks, (0, shift), strict=True)
        return [block.guide(guidance, window, offset) for block, offset in shifts]

    def forward(self, x: Tensor, guides: Sequence[WindowGuide]) -> Tensor:
        """Smooth each word's map: (B, K, h, w, D) -> same shape."""
        for block, guide in zip(self.blocks, guides, strict=True):
            x = block(x, guide)
        return x


def positive(x: Tensor) -> Tensor:
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
        if pooling == (1, 1):
            cells = self._in_chunks(lambda z: z + self._attend(z, words), x.flatten(2, 3))
            return cells.view(x.shape)
        pooled = self._pool(x, pooling)
        z = self._in_chunks(lambda z: self._attend(z, words), pooled.flatten(2, 3))
        return x + self._unpool(z.view(pooled.shape), tuple(x.shape[2:4]))

    def _in_chunks(self, run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Run over (B, K, cells, D), in chunks of cells if no gradient is needed."""
        if not self.chunked or torch.is_grad_enabled():
            return run(x)
        size = CELL_CHUNK_BYTES // (12 * x[:, :, 0].numel())  # queries, keys and values
        size = max(1, size - size % ONEDNN_MAPS if size > ONEDNN_MAPS else size)
        return in_chunks(run, x, size, dim=2)

    def _attend(self, z: Tensor, words: Tensor) -> Tensor:
        """(B, K, cells, D) -> same shape, residuals included."""
        z = z.transpose(1, 2)
        q, k, v = self.project(self.norm1(z), self.share(words)[:, None])
        missing = max(self.padded_to - z.shape[2], 0)
        padding = self._padding() if missing else None
        attention = self._linear if self.kind == "linear" else self._full
        z = z + attention(q, k, v, padding, missing).transpose(2, 3).flatten(3)
        return (z + self.mlp(self.norm2(z))).transpose(1, 2)

    @staticmethod
    def _linear(
        q: Tensor, k: Tensor, v: Tensor, padding: tuple[Tensor, Tensor] | None, missing: int
    ) -> Tensor:
        """Linear attention: sums over words first, so the cost grows with K, not K^2."""
        # Sums over many words leave half precision's range.
        with torch.autocast(q.device.type, enabled=False):
            q, k, v = positive(q.float()), positive(k.float()), v.float()
            keys = k.sum(dim=-2)  # (B, cells, n, d)
            products = k.transpose(-2, -1) @ v  # (B, cells, n, d, d)
            if padding is not None:
                key, value = positive(padding[0].float()), padding[1].float()
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
        _, key, value = self.project(token[None], self.share(self.padding_guidance[None]))
        return key, value

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

    def share(self, guidance: Tensor) -> Tensor:
        """Compute what all words get: (B, guidance, 2h, 2w) -> (B, out, 2h, 2w).

        A convolution of a concatenation is a sum of two, and the guidance's is the same for all.
        """
        return F.conv2d(guidance, self.conv1.weight[:, -guidance.shape[1] :], padding=1)

    def forward(self, x: Tensor, shared: Tensor) -> Tensor:
        """(B, K, width, h, w) maps and ``share``'s result -> (B, K, out, 2h, 2w)."""
        maps = self.up(x.flatten(0, 1))
        maps = F.conv2d(maps, self.conv1.weight[:, : maps.shape[1]], padding=1)
        maps = (maps.unflatten(0, x.shape[:2]) + shared[:, None]).flatten(0, 1)
        maps = F.relu(self.norm1(maps), inplace=True)
        maps = F.relu(self.norm2(self.conv2(maps)), inplace=True)
        return maps.unflatten(0, x.shape[:2])
