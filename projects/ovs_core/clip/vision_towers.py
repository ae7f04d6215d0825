"""Which image towers can be read token by token, and how a picture's feature is made of tokens.

Letters: B pictures, L = P + N tokens, P class tokens (0 or 1), N patches, C tower width, D joint
width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NoReturn, Protocol, cast

from open_clip.timm_model import TimmModel
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from ..errors import UserError
from .positions import Grid
from .timm_towers import TimmTower, why_not
from .towers import Block, VisionTower

# plain: open_clip's own ViT with a CLS token, whose weights a method may change by their names;
# cls: any ViT whose picture feature is its CLS token; any: any ViT.
Accepted = Literal["plain", "cls", "any"]


class ReadableTower(Protocol):
    """An image tower, whoever wrote it.

    Attributes:
        module: open_clip's image tower.
        patch_size: height and width in pixels.
        grid_size: rows and columns of the table of positions.
        ln_pre: what tokens pass in front of the first block.
    """

    module: nn.Module
    patch_size: Grid
    grid_size: Grid
    ln_pre: nn.Module

    @property
    def conv1(self) -> nn.Conv2d:
        """What makes patches of a picture."""

    @property
    def pooling(self) -> str:
        """``tok`` if the picture's feature is the class token."""

    @property
    def class_embedding(self) -> Tensor | None:
        """(C,), or None for a tower without a class token."""

    @property
    def positional_embedding(self) -> Tensor:
        """(1 + N, C), the class token's row first."""

    @property
    def num_blocks(self) -> int:
        """Number of blocks."""

    @property
    def grad_checkpointing(self) -> bool:
        """Whether training computes the blocks again in the backward pass."""

    def blocks(self, grid: Grid) -> Sequence[Block]:
        """Give the blocks, as they run on a grid."""

    def project(self, tokens: Tensor) -> Tensor:
        """Bring tokens to the joint space, each alone: (B, L, C) -> (B, L, D)."""

    def picture(self, tokens: Tensor) -> Tensor:
        """Give the picture's feature as the CLIP has it: (B, L, C) -> (B, D)."""


class OwnTower:
    """open_clip's own ViT; a view and no module.

    Args:
        visual: open_clip ``VisionTransformer``, not copied.
    """

    def __init__(self, visual: nn.Module) -> None:
        self.module = visual
        self._visual = cast(VisionTower, visual)
        rows, columns = self._visual.patch_size
        self.patch_size: Grid = (rows, columns)
        self.grid_size: Grid = self._visual.grid_size
        self.ln_pre: nn.Module = self._visual.ln_pre

    @property
    def conv1(self) -> nn.Conv2d:
        """What makes patches of a picture."""
        return self._visual.conv1

    @property
    def pooling(self) -> str:
        """``tok``, or ``avg`` for the mean of the patches."""
        return self._visual.pool_type

    @property
    def class_embedding(self) -> Tensor | None:
        """(C,)."""
        return self._visual.class_embedding

    @property
    def positional_embedding(self) -> Tensor:
        """(1 + N, C)."""
        return self._visual.positional_embedding

    @property
    def num_blocks(self) -> int:
        """Number of blocks."""
        return len(self._visual.transformer.resblocks)

    @property
    def grad_checkpointing(self) -> bool:
        """Whether training computes the blocks again in the backward pass."""
        return self._visual.transformer.grad_checkpointing

    def blocks(self, grid: Grid) -> Sequence[Block]:
        """Give the blocks, the same on every grid."""
        return cast(Sequence[Block], self._visual.transformer.resblocks)

    def project(self, tokens: Tensor) -> Tensor:
        """Apply ``ln_post`` and the projection: (B, L, C) -> (B, L, D)."""
        tokens = self._visual.ln_post(tokens)
        return tokens if self._visual.proj is None else tokens @ self._visual.proj

    def picture(self, tokens: Tensor) -> Tensor:
        """Project the CLS token, or the mean of the patches: (B, L, C) -> (B, D)."""
        if self.pooling == "tok":
            return self.project(tokens[:, :1])[:, 0]
        if self._visual.final_ln_after_pool:
            return self.project(tokens[:, 1:].mean(dim=1, keepdim=True))[:, 0]
        return self.project(tokens[:, 1:]).mean(dim=1)


def read_tower(visual: nn.Module, accepts: Accepted = "plain") -> ReadableTower:
    """See an image tower token by token.

    Args:
        visual: image tower of a CLIP, not copied.
        accepts: what the method can work with.

    Raises:
        UserError: if the method cannot work with this tower; names the reason.
    """
    tower = _timm_tower(visual, accepts) if isinstance(visual, TimmModel) else _own_tower(visual)
    if accepts != "any" and tower.pooling != "tok":
        _refuse(
            "this method needs a CLIP whose picture feature is its CLS token, but this one pools "
            f"by {tower.pooling}"
        )
    return tower


def _timm_tower(visual: nn.Module, accepts: Accepted) -> ReadableTower:
    reason = why_not(visual)
    if reason:
        _refuse(f"this method needs a ViT image tower that it can read, but of this CLIP {reason}")
    if accepts == "plain":
        kind = type(visual.get_submodule("trunk")).__name__
        _refuse(f"this method needs open_clip's own ViT, but the CLIP has timm's {kind}")
    return TimmTower(visual)


def _own_tower(visual: nn.Module) -> ReadableTower:
    if not isinstance(visual, VisionTransformer):
        _refuse(
            f"this method needs a ViT image tower, but the CLIP has a {type(visual).__name__}",
            " (for example ViT-B-16-quickgelu)",
        )
    if visual.attn_pool is not None or visual.pool_type not in ("tok", "avg"):
        _refuse(
            "this method needs a CLIP whose picture feature is its CLS token, but this one pools "
            f"by {'attention' if visual.attn_pool is not None else visual.pool_type}"
        )
    if not isinstance(visual.transformer.resblocks[0], ResidualAttentionBlock):
        _refuse("this CLIP's blocks are of a custom type, which dense encoding does not know")
    return OwnTower(visual)


def _refuse(reason: str, example: str = "") -> NoReturn:
    raise UserError(f"{reason}; choose another MODEL.CLIP.ARCHITECTURE{example}")
