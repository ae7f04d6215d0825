"""Deep visual prompts (ZegCLIP) and spectral prompts (SPT-SEG) on a frozen CLIP image tower.

Letters: B pictures, M prompt tokens per block, N = h * w patches, C tower width, D joint width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.clip import ImageEncoder
from ovs_core.clip.positions import Positions
from ovs_core.errors import UserError
from ovs_core.modeling.per_picture import Dropout

from .spectral import Grid, SpectralFilter


class DoubledClassEmbedding:
    """A position rule that adds the class embedding to the CLS row, so that it counts twice.

    The published towers add it once as the token and once with the positions.

    Args:
        visual: open_clip tower that holds the embedding.
        rule: how the table is fitted to the grid.
    """

    def __init__(self, visual: VisionTransformer, rule: Positions) -> None:
        self.visual, self.rule = visual, rule

    def __call__(self, table: Tensor, table_grid: Grid, grid: Grid) -> Tensor:
        """Fit the table: (1 + n, C) -> (1 + N, C)."""
        fitted = self.rule(table, table_grid, grid)
        return torch.cat([fitted[:1] + self.visual.class_embedding, fitted[1:]])


class VisualPrompts(nn.Module):
    """Prompt tokens between CLS and patches.

    Args:
        tokens: M.
        depth: blocks 1..depth replace their M tokens by own ones; behind them the tokens are
            dropped. 0: the tokens of block 0 travel along to the end.
        width: C.
        patch_size: patch side in pixels, for the range of the initial values.
        dropout: on the projected prompts, drawn for each picture.
    """

    def __init__(
        self, *, tokens: int, depth: int, width: int, patch_size: Grid, dropout: float = 0.1
    ) -> None:
        super().__init__()
        bound = math.sqrt(6.0 / (3 * patch_size[0] * patch_size[1] + width))
        self.first = nn.Parameter(torch.empty(1, tokens, width).uniform_(-bound, bound))
        self.deep = nn.Parameter(torch.empty(depth, tokens, width).uniform_(-bound, bound))
        self.project = nn.Linear(width, width)
        nn.init.kaiming_normal_(self.project.weight, mode="fan_out")
        self.dropout = Dropout(dropout)
        self.norm = nn.LayerNorm(width, eps=1e-6) if depth else nn.Identity()

    @property
    def depth(self) -> int:
        """Last block that gets own tokens."""
        return len(self.deep)

    def edit(self, index: int, tokens: Tensor, count: int) -> Tensor:
        """Bring the prompt rows of a block's input into order.

        Args:
            index: block.
            tokens: (B, 1 + n + N, C) with the n prompt rows that left the block before.
            count: N.

        Returns:
            (B, 1 + n', + N, C).
        """
        cls, patches = tokens[:, :1], tokens[:, -count:]
        if index == 0:
            return torch.cat([cls, self._rows(self.first[0], tokens), patches], dim=1)
        if index <= self.depth:
            return torch.cat([cls, self._rows(self.deep[index - 1], tokens), patches], dim=1)
        if self.depth and index == self.depth + 1:
            return torch.cat([cls, patches], dim=1)
        return tokens

    def _rows(self, values: Tensor, tokens: Tensor) -> Tensor:
        rows = self.project(values).to(tokens.dtype)
        return self.dropout(rows.expand(tokens.shape[0], -1, -1))


class PromptedEncoder(nn.Module):
    """CLIP's image tower with prompts.

    Args:
        encoder: the frozen tower.
        prompts: visual prompts, or None for the bare tower.
        filters: block index -> spectral filter; filters may be shared.

    Raises:
        UserError: if a spectral layer or the prompt depth does not exist in the tower.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        prompts: VisualPrompts | None = None,
        filters: dict[int, SpectralFilter] | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.prompts = encoder, prompts
        filters = {encoder.block_index(i): f for i, f in (filters or {}).items()}
        self.filters = nn.ModuleList(dict.fromkeys(filters.values()))
        self._filter_of = {i: list(self.filters).index(f) for i, f in filters.items()}
        self.spectral_layers = sorted(filters)  # blocks with a spectral prompt in front
        if prompts is not None and prompts.depth >= encoder.num_blocks:
            raise UserError(
                f"MODEL.SPTSEG.PROMPTS.DEPTH {prompts.depth}: the tower has blocks "
                f"0..{encoder.num_blocks - 1}"
            )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Encode pictures.

        Args:
            images: (B, 3, H, W) normalised.

        Returns:
            Unit CLS features (B, D) and unit patch features (B, D, h, w).
        """
        tokens, grid = self.encoder.embed(images)
        tokens, _ = self.encoder.run_blocks(tokens, grid, before=self.before)
        tokens = self.select(tokens, grid)
        found = self.encoder.split(self.encoder.project(tokens), grid)
        return F.normalize(found.cls, dim=-1), F.normalize(found.patches, dim=1)

    def before(self, index: int, tokens: Tensor, grid: Grid) -> Tensor:
        """Edit the input of a block: (B, L, C) -> (B, L', C)."""
        count = grid[0] * grid[1]
        if index in self.spectral_layers:
            patches = tokens[:, -count:]
            spectral = self.filters[self._filter_of[index]](patches, tokens[:, :1], grid)
            tokens = torch.cat([tokens[:, :-count], patches + spectral], dim=1)
        return tokens if self.prompts is None else self.prompts.edit(index, tokens, count)

    def select(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Keep CLS and patches of the last block's output, behind the prompts' norm."""
        tokens = torch.cat([tokens[:, :1], tokens[:, -grid[0] * grid[1] :]], dim=1)
        return tokens if self.prompts is None else self.prompts.norm(tokens)


def build_filters(
    layers: Sequence[int], grid: Grid, width: int, *, shared: bool, std: float, train: bool
) -> dict[int, SpectralFilter]:
    """Make the spectral filters of the given blocks.

    Args:
        layers: block indices.
        grid: patch grid that the filters belong to.
        width: C.
        shared: one filter for all layers, or one each.
        std: of the initial weights.
        train: whether they are learnt.
    """
    if not layers:
        return {}
    count = 1 if shared else len(layers)
    filters = [SpectralFilter(grid, width, std=std).requires_grad_(train) for _ in range(count)]
    return {layer: filters[0 if shared else i] for i, layer in enumerate(layers)}
