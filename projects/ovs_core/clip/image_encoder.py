"""Dense image tokens from an unmodified ViT of open_clip or timm.

The encoder walks through open_clip's own modules. A method changes it by parametrizing weights, by
editing the tokens in front of a block (prompts), or by running a named block in another way; it
never copies the tower. Letters: B pictures, L = 1 + N tokens (N in a tower without a class token),
N = h * w patches, C tower width, D joint width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import UserError
from .positions import Grid, PositionRule, Positions
from .towers import Block, VisionTower
from .vision_towers import Accepted, read_tower

BlockFunction = Callable[[Block, Tensor], Tensor]
TokenEdit = Callable[[int, Tensor, Grid], Tensor]


@dataclass(frozen=True)
class ImageTokens:
    """What the encoder gives for a batch.

    Attributes:
        cls: (B, D) the picture's feature, not normalised: the projected CLS token, or what this
            CLIP has in its place.
        patches: (B, D, h, w) projected patch tokens, not normalised.
        taps: block index -> (B, L, C) output of that block.
    """

    cls: Tensor
    patches: Tensor
    taps: dict[int, Tensor] = field(default_factory=dict)


class ImageEncoder:
    """Run a ViT image tower on pictures of any size and keep every token.

    A view of the tower and no module: the weights belong to the CLIP, where they are registered
    once. Keep it in any attribute of a module, ``self.encoder = ImageEncoder(clip.visual)``; mode,
    device and gradients are set on the CLIP.

    Args:
        visual: image tower of a CLIP, not copied.
        positions: how the position table is fitted to the grid; default ``PositionRule()``.
        accepts: ``plain`` for open_clip's own ViT with a CLS token; ``cls`` for any ViT whose
            picture feature is its CLS token; ``any`` for any ViT.

    Raises:
        UserError: if the tower is none of these.
    """

    def __init__(
        self,
        visual: nn.Module,
        *,
        positions: Positions | None = None,
        accepts: Accepted = "plain",
    ) -> None:
        self.tower = read_tower(visual, accepts)
        self.positions: Positions = positions or PositionRule()

    @property
    def visual(self) -> VisionTower:
        """open_clip's own ViT, for what changes its weights; asked for with ``plain`` alone."""
        return cast(VisionTower, self.tower.module)

    @property
    def has_cls(self) -> bool:
        """Whether a class token stands in front of the patches."""
        return self.tower.class_embedding is not None

    @property
    def patch_size(self) -> Grid:
        """Patch height and width in pixels."""
        return self.tower.patch_size

    @property
    def num_blocks(self) -> int:
        """Number of transformer blocks."""
        return self.tower.num_blocks

    @property
    def width(self) -> int:
        """Tower width C."""
        return self.tower.conv1.out_channels

    def block_index(self, layer: int) -> int:
        """Turn a possibly negative layer number into a block index.

        Raises:
            UserError: if the tower has no such block.
        """
        index = layer + self.num_blocks if layer < 0 else layer
        if not 0 <= index < self.num_blocks:
            raise UserError(f"layer {layer} does not exist; the tower has {self.num_blocks} blocks")
        return index

    def grid(self, size: tuple[int, int]) -> Grid:
        """Rows and columns of patches of an H x W picture; a remainder is dropped.

        Raises:
            UserError: if the picture is smaller than one patch.
        """
        rows, columns = size[0] // self.patch_size[0], size[1] // self.patch_size[1]
        if rows < 1 or columns < 1:
            raise UserError(
                f"a picture of {size[0]} x {size[1]} pixels is smaller than one "
                f"{self.patch_size[0]} x {self.patch_size[1]} patch; enlarge it"
            )
        return rows, columns

    def embed(self, images: Tensor) -> tuple[Tensor, Grid]:
        """Turn pictures into the tokens that enter the first block.

        Args:
            images: (B, 3, H, W) normalised pictures.

        Returns:
            (B, L, C) tokens after ``ln_pre``, and the grid (h, w).
        """
        tower = self.tower
        grid = self.grid((images.shape[-2], images.shape[-1]))
        patches = tower.conv1(images).flatten(2).transpose(1, 2)
        table = self.positions(tower.positional_embedding, tower.grid_size, grid).to(patches.dtype)
        if tower.class_embedding is None:
            return tower.ln_pre(patches + table[1:]), grid
        cls = tower.class_embedding.to(patches.dtype).expand(images.shape[0], 1, -1)
        return tower.ln_pre(torch.cat([cls, patches], dim=1) + table), grid

    def run_blocks(
        self,
        tokens: Tensor,
        grid: Grid,
        *,
        taps: Collection[int] = (),
        blocks: Mapping[int, BlockFunction] | None = None,
        before: TokenEdit | None = None,
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Send tokens through the transformer.

        Args:
            tokens: (B, L, C) from ``embed``.
            grid: (h, w) of the patches.
            taps: block indices whose outputs are kept.
            blocks: block index -> ``f(block, tokens) -> tokens`` that replaces the block's forward.
            before: ``f(index, tokens, grid) -> tokens``, applied in front of every block; may
                change the number of tokens between CLS and the last h * w.

        Returns:
            (B, L', C) output of the last block, and the taps.
        """
        blocks = blocks or {}
        kept: dict[int, Tensor] = {}
        use_checkpoint = self.tower.grad_checkpointing and torch.is_grad_enabled()
        for index, block in enumerate(self.tower.blocks(grid)):
            if before is not None:
                tokens = before(index, tokens, grid)
            run = blocks.get(index, _run_block)
            if use_checkpoint:
                tokens = checkpoint(run, block, tokens, use_reentrant=False)
            else:
                tokens = run(block, tokens)
            if index in taps:
                kept[index] = tokens
        return tokens, kept

    def project(self, tokens: Tensor) -> Tensor:
        """Bring tokens to the joint space, each alone: (B, L, C) -> (B, L, D)."""
        return self.tower.project(tokens)

    def __call__(
        self,
        images: Tensor,
        *,
        taps: Collection[int] = (),
        blocks: Mapping[int, BlockFunction] | None = None,
        before: TokenEdit | None = None,
    ) -> ImageTokens:
        """Encode pictures.

        Args:
            images: (B, 3, H, W) normalised pictures, any size of at least one patch.
            taps: block indices whose outputs are kept.
            blocks: block replacements, see ``run_blocks``.
            before: token edit, see ``run_blocks``.

        Returns:
            CLS and patch tokens in the joint space, and the taps.
        """
        tokens, grid = self.embed(images)
        tokens, kept = self.run_blocks(tokens, grid, taps=taps, blocks=blocks, before=before)
        if self.tower.pooling == "tok":
            return self.split(self.project(tokens), grid, kept)
        count = grid[0] * grid[1]
        patches = self.project(tokens[:, -count:]).transpose(1, 2).unflatten(2, grid)
        return ImageTokens(self.tower.picture(tokens), patches, kept)

    @staticmethod
    def split(tokens: Tensor, grid: Grid, taps: dict[int, Tensor] | None = None) -> ImageTokens:
        """Separate CLS (first) and patches (last h * w); tokens between them are dropped."""
        count = grid[0] * grid[1]
        patches = torch.unflatten(tokens[:, -count:].transpose(1, 2), 2, grid)
        return ImageTokens(cls=tokens[:, 0], patches=patches, taps=taps or {})


def _run_block(block: Block, tokens: Tensor) -> Tensor:
    return block(tokens)
