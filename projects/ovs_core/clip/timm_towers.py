"""timm's ViTs, seen as open_clip's: EVA-CLIP, SigLIP and PE-Core come through timm.

Letters: B pictures, L = P + N tokens, P class tokens (0 or 1), N = h * w patches, C tower width,
H heads, d head width, D joint width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from timm.layers import AttentionPoolLatent, apply_rot_embed_cat, build_rotary_pos_embed
from timm.layers.pos_embed_sincos import RotaryEmbeddingCat
from timm.models.eva import Eva, EvaBlock, EvaBlockPostNorm
from timm.models.vision_transformer import Block as VitBlock
from timm.models.vision_transformer import VisionTransformer as TimmVit
from torch import Tensor, nn
from torch.nn import functional as F

from .positions import Grid
from .towers import Block


@dataclass(frozen=True)
class _Output:
    """What follows attention: the norm inside it, where there is one, and the projection."""

    attn: Any

    def out_proj(self, attended: Tensor) -> Tensor:
        """(B, L, H * d) -> (B, L, C)."""
        return cast(Tensor, self.attn.proj(self.attn.norm(attended)))


class TimmBlock:
    """A block of timm's with the parts of open_clip's, on one grid.

    Args:
        block: timm's, not copied.
        rope: rotary positions of the grid; None where the tower has none.
    """

    def __init__(self, block: nn.Module, rope: Tensor | None) -> None:
        self._block = cast(Any, block)
        self._rope = rope
        # A norm behind a branch stands where others have the scale of the layer.
        behind = isinstance(block, EvaBlockPostNorm)
        self.ln_1 = nn.Identity() if behind else self._block.norm1
        self.ln_2 = nn.Identity() if behind else self._block.norm2
        self.ls_1 = self._block.norm1 if behind else _layer_scale(block, 1)
        self.ls_2 = self._block.norm2 if behind else _layer_scale(block, 2)
        self.mlp = self._block.mlp
        self.attn = _Output(self._block.attn)

    def __call__(self, tokens: Tensor) -> Tensor:
        """Run the block as timm has it."""
        if isinstance(self._block, VitBlock):
            return cast(Tensor, self._block(tokens))
        return cast(Tensor, self._block(tokens, rope=self._rope))

    def qkv(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys, normed and turned as their attention sees them, and values.

        Args:
            tokens: (B, L, C) block input.

        Returns:
            Three tensors (B, H, L, d).
        """
        attn = self._block.attn
        q, k, v = _streams(attn, self.ln_1(tokens))
        q, k = attn.q_norm(q), attn.k_norm(k)
        return self._turned(q), self._turned(k), v

    def _turned(self, x: Tensor) -> Tensor:
        """Turn queries or keys of patches by their place."""
        if self._rope is None:
            return x
        first = self._block.attn.num_prefix_tokens
        half = self._block.attn.rotate_half
        turned = apply_rot_embed_cat(x[:, :, first:], self._rope, half=half)
        return torch.cat([x[:, :, :first], turned], dim=2).to(x.dtype)


class TimmTower:
    """An image tower of timm with the parts of open_clip's; a view and no module.

    Args:
        visual: open_clip's ``TimmModel``, not copied; ``why_not`` has nothing against it.
    """

    def __init__(self, visual: nn.Module) -> None:
        self.module = visual
        self._trunk = cast(Any, visual.get_submodule("trunk"))
        self._head = visual.get_submodule("head")
        embed = self._trunk.patch_embed
        self.patch_size: Grid = tuple(embed.patch_size)
        self.grid_size: Grid = tuple(embed.grid_size)
        self.ln_pre: nn.Module = self._trunk.norm_pre

    @property
    def conv1(self) -> nn.Conv2d:
        """What makes patches of a picture."""
        return cast(nn.Conv2d, self._trunk.patch_embed.proj)

    @property
    def class_embedding(self) -> Tensor | None:
        """(C,) what stands in front of the patches, without its position; or None."""
        token = self._trunk.cls_token
        return None if token is None else token[0, 0]

    @property
    def positional_embedding(self) -> Tensor:
        """(1 + N, C); the first row is 0 where the class token has no position."""
        table: Tensor = self._trunk.pos_embed[0]
        if self._trunk.cls_token is None or self._trunk.no_embed_class:
            return F.pad(table, (0, 0, 1, 0))
        return table

    @property
    def pooling(self) -> str:
        """``tok`` if the picture's feature is the class token; else ``map`` or another."""
        pool = str(self._trunk.global_pool)
        return "tok" if pool == "token" and self._trunk.attn_pool is None else pool

    @property
    def grad_checkpointing(self) -> bool:
        """Whether training computes the blocks again in the backward pass."""
        return bool(self._trunk.grad_checkpointing)

    def blocks(self, grid: Grid) -> Sequence[Block]:
        """Give the blocks with the rotary positions of a grid."""
        rope = None if getattr(self._trunk, "rope", None) is None else self._rotary(grid)
        return [cast(Block, TimmBlock(block, rope)) for block in self._trunk.blocks]

    @property
    def num_blocks(self) -> int:
        """Number of blocks."""
        return len(self._trunk.blocks)

    def project(self, tokens: Tensor) -> Tensor:
        """Bring tokens to the joint space, each alone: (B, L, C) -> (B, L, D).

        Where attention pools, each token is pooled as if there were no other: its attention is 1.
        """
        tokens = self._trunk.norm(tokens)
        pool = self._trunk.attn_pool
        if pool is not None:
            width = tokens.shape[-1]
            bias = None if pool.kv.bias is None else pool.kv.bias[width:]
            tokens = pool.proj(F.linear(tokens, pool.kv.weight[width:], bias))
            tokens = tokens + pool.mlp(pool.norm(tokens))
        return cast(Tensor, self._head(self._trunk.head(self._trunk.fc_norm(tokens))))

    def picture(self, tokens: Tensor) -> Tensor:
        """Give the picture's feature as the CLIP has it: (B, L, C) -> (B, D)."""
        return cast(Tensor, self._head(self._trunk.forward_head(self._trunk.norm(tokens))))

    def _rotary(self, grid: Grid) -> Tensor:
        rope = self._trunk.rope
        if rope.feat_shape is not None and tuple(rope.feat_shape) == tuple(grid):
            return cast(Tensor, rope.get_embed())
        parts = build_rotary_pos_embed(
            list(grid), bands=rope.bands, in_pixels=rope.in_pixels,
            ref_feat_shape=rope.ref_feat_shape, grid_offset=rope.grid_offset,
            grid_indexing=rope.grid_indexing, rotate_half=rope.rotate_half,
            grid_type=rope.grid_type, normalize_coords=rope.normalize_coords,
        )  # fmt: skip
        return torch.cat(parts, dim=-1)


def why_not(visual: nn.Module) -> str:
    """Say what keeps a timm tower from being read token by token; ``""`` if nothing does.

    Args:
        visual: open_clip's ``TimmModel``.
    """
    trunk: Any = visual.get_submodule("trunk")
    if not isinstance(trunk, Eva | TimmVit):
        return f"its tower is timm's {type(trunk).__name__}, no ViT"
    kinds = (VitBlock, EvaBlock, EvaBlockPostNorm)
    if any(type(block) not in kinds or block.attn.gate is not None for block in trunk.blocks):
        return "its blocks are of a custom type"
    if trunk.num_prefix_tokens > 1 or trunk.pos_embed is None:
        return "it has registers, or no table of positions"
    if not isinstance(trunk.patch_embed.norm, nn.Identity):
        return "it norms its patches"
    rope = getattr(trunk, "rope", None)
    if rope is not None and type(rope) is not RotaryEmbeddingCat:
        return f"its rotary positions are a {type(rope).__name__}"
    return _why_not_pooled(trunk)


def _why_not_pooled(trunk: Any) -> str:
    pool = trunk.attn_pool
    if pool is None:
        return "" if trunk.global_pool == "token" else f"it pools by {trunk.global_pool}"
    usual = type(pool) is AttentionPoolLatent and pool.latent_len == 1
    plain = usual and pool.pos_embed is None and pool.mlp is not None
    return "" if plain else f"it pools by a {type(pool).__name__} of another kind"


def _streams(attn: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Project (B, L, C) to (B, H, L, d) each, from one matrix or three."""
    if attn.qkv is None:
        parts = [attn.q_proj(x), attn.k_proj(x), attn.v_proj(x)]
    else:
        joined = attn.qkv(x)
        if getattr(attn, "q_bias", None) is not None:
            joined = joined + torch.cat([attn.q_bias, attn.k_bias, attn.v_bias])
        parts = list(joined.chunk(3, dim=-1))
    q, k, v = (part.unflatten(2, (attn.num_heads, -1)).transpose(1, 2) for part in parts)
    return q, k, v


def _layer_scale(block: nn.Module, number: int) -> Callable[[Tensor], Tensor]:
    """Find what scales a branch of a block; the two kinds of towers name it differently."""
    scale: Any = getattr(block, f"ls{number}", None)
    if scale is not None:
        return cast(Callable[[Tensor], Tensor], scale)
    gamma = getattr(block, f"gamma_{number}", None)
    return nn.Identity() if gamma is None else lambda x: gamma * x
