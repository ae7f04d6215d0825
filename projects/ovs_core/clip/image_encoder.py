"""Dense image tokens from an unmodified open_clip ViT.

The encoder walks through open_clip's own modules. A method changes it by parametrizing weights, by
editing the tokens in front of a block (prompts), or by running a named block in another way; it
never copies the tower. Letters: B pictures, L = 1 + N tokens, N = h * w patches, C tower width,
D joint width.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..errors import UserError
from .positions import Grid, PositionRule, Positions
from .towers import Block, VisionTower

BlockFunction = Callable[[Block, Tensor], Tensor]
TokenEdit = Callable[[int, Tensor, Grid], Tensor]


@dataclass(frozen=True)
class ImageTokens:
    """What the encoder gives for a batch.

    Attributes:
        cls: (B, D) projected CLS token, not normalised.
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
        visual: open_clip ``VisionTransformer`` with a CLS token, not copied.
        positions: how the position table is fitted to the grid; default ``PositionRule()``.

    Raises:
        UserError: if the tower is no plain ViT with a CLS token.
    """

    def __init__(self, visual: nn.Module, *, positions: Positions | None = None) -> None:
        self.visual = _vision_tower(visual)
        self.positions: Positions = positions or PositionRule()

    @property
    def patch_size(self) -> Grid:
        """Patch height and width in pixels."""
        rows, columns = self.visual.patch_size
        return rows, columns

    @property
    def num_blocks(self) -> int:
        """Number of transformer blocks."""
        return len(self.visual.transformer.resblocks)

    @property
    def width(self) -> int:
        """Tower width C."""
        return self.visual.conv1.out_channels

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
        visual = self.visual
        grid = self.grid((images.shape[-2], images.shape[-1]))
        patches = visual.conv1(images).flatten(2).transpose(1, 2)
        cls = visual.class_embedding.to(patches.dtype).expand(len(images), 1, -1)
        table = self.positions(visual.positional_embedding, visual.grid_size, grid)
        tokens = torch.cat([cls, patches], dim=1) + table.to(patches.dtype)
        return visual.ln_pre(tokens), grid

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
        use_checkpoint = self.visual.transformer.grad_checkpointing and torch.is_grad_enabled()
        for index, block in enumerate(self.visual.transformer.resblocks):
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
        """Apply ``ln_post`` and the projection to the joint space: (B, L, C) -> (B, L, D)."""
        tokens = self.visual.ln_post(tokens)
        return tokens if self.visual.proj is None else tokens @ self.visual.proj

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
        return self.split(self.project(tokens), grid, kept)

    @staticmethod
    def split(tokens: Tensor, grid: Grid, taps: dict[int, Tensor] | None = None) -> ImageTokens:
        """Separate CLS (first) and patches (last h * w); tokens between them are dropped."""
        count = grid[0] * grid[1]
        patches = torch.unflatten(tokens[:, -count:].transpose(1, 2), 2, grid)
        return ImageTokens(cls=tokens[:, 0], patches=patches, taps=taps or {})


def _run_block(block: Block, tokens: Tensor) -> Tensor:
    return block(tokens)


def _vision_tower(visual: nn.Module) -> VisionTower:
    if not isinstance(visual, VisionTransformer):
        raise UserError(
            f"this method needs a ViT image tower, but the CLIP has a {type(visual).__name__}; "
            "choose a ViT architecture in MODEL.CLIP.ARCHITECTURE (for example ViT-B-16-quickgelu)"
        )
    if visual.attn_pool is not None or visual.pool_type != "tok":
        raise UserError(
            "this method needs a CLIP whose picture feature is its CLS token, but this one pools "
            f"by {'attention' if visual.attn_pool is not None else visual.pool_type}; "
            "choose another MODEL.CLIP.ARCHITECTURE"
        )
    if not isinstance(visual.transformer.resblocks[0], ResidualAttentionBlock):
        raise UserError(
            "this CLIP's blocks are of a custom type, which dense encoding does not know; choose "
            "another MODEL.CLIP.ARCHITECTURE"
        )
    tower: VisionTower = visual
    return tower
