"""The parts of a CLIP transformer block, for methods that rewire its attention.

Letters: B pictures, L tokens (CLS first), C tower width, H heads, d = C / H.
"""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from .timm_towers import TimmBlock
from .towers import Block


def project_qkv(block: Block, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise a block's input and project it to queries, keys and values.

    Args:
        block: of open_clip or timm.
        tokens: (B, L, C) block input.

    Returns:
        Three tensors (B, H, L, d).
    """
    if isinstance(block, TimmBlock):
        return block.qkv(tokens)
    attn = block.attn
    x = F.linear(block.ln_1(tokens), attn.in_proj_weight, attn.in_proj_bias)
    batch, length, _ = tokens.shape
    # (B, L, 3C) -> (3, B, H, L, d)
    x = x.view(batch, length, 3, attn.num_heads, attn.head_dim).permute(2, 0, 3, 1, 4)
    return x[0], x[1], x[2]


def project_values(block: Block, tokens: Tensor) -> Tensor:
    """Normalise a block's input and project it to values only.

    Args:
        block: of open_clip or timm.
        tokens: (B, L, C) block input.

    Returns:
        (B, L, C) values of all heads, side by side.
    """
    if isinstance(block, TimmBlock):
        return merge_heads(block.qkv(tokens)[2])
    attn, width = block.attn, tokens.shape[-1]
    bias = None if attn.in_proj_bias is None else attn.in_proj_bias[2 * width :]
    return F.linear(block.ln_1(tokens), attn.in_proj_weight[2 * width :], bias)


def merge_heads(heads: Tensor) -> Tensor:
    """Put (B, H, L, d) heads side by side: (B, L, C)."""
    return heads.transpose(1, 2).flatten(2)


def finish_block(
    block: Block, residual: Tensor | None, attended: Tensor, *, mlp: bool = True
) -> Tensor:
    """Complete a block from the attention result on.

    Args:
        block: of open_clip or timm.
        residual: (B, L, C), what the attention branch is added to; None leaves the branch alone.
        attended: (B, L, C) attention-weighted values before the output projection.
        mlp: whether the block's second half follows.

    Returns:
        (B, L, C) block output.
    """
    x: Tensor = block.ls_1(block.attn.out_proj(attended))
    if residual is not None:
        x = residual + x
    return x + block.ls_2(block.mlp(block.ln_2(x))) if mlp else x


def value_block(block: Block, tokens: Tensor) -> Tensor:
    """Run a block in which every token attends to itself alone (MaskCLIP).

    Args:
        block: of open_clip or timm.
        tokens: (B, L, C) block input.

    Returns:
        (B, L, C) block output.
    """
    return finish_block(block, tokens, project_values(block, tokens))


def cls_residual_value_block(block: Block, tokens: Tensor) -> Tensor:
    """Run the value-only block whose residual is the CLS token's input (CAT-Seg, H-CLIP).

    Args:
        block: of open_clip or timm.
        tokens: (B, L, C) block input.

    Returns:
        (B, L, C) block output.
    """
    return finish_block(block, tokens[:, :1], project_values(block, tokens))


def self_block(block: Block, tokens: Tensor, *, streams: str = "qk", mean: bool = True) -> Tensor:
    """Run a block in which tokens attend to those that are like them (SCLIP).

    Args:
        block: of open_clip or timm.
        tokens: (B, L, C) block input.
        streams: which of queries, keys and values, ``qkv``, are compared with themselves.
        mean: average their attention, so that rows sum to 1; else it is added up, as released.

    Returns:
        (B, L, C) block output.
    """
    named = dict(zip("qkv", project_qkv(block, tokens), strict=True))
    attention = reduce(torch.add, (self_similarity(named[stream]) for stream in streams))
    if mean:
        attention = attention / len(streams)
    return finish_block(block, tokens, merge_heads(attention @ named["v"]))


def self_similarity(x: Tensor, *, scale: float | None = None) -> Tensor:
    """Softmax attention of a stream with itself.

    Args:
        x: (B, H, L, d) queries, keys or values.
        scale: factor on the inner products; default ``d ** -0.5``.

    Returns:
        (B, H, L, L), rows sum to 1.
    """
    scale = x.shape[-1] ** -0.5 if scale is None else scale
    return torch.softmax((x * scale) @ x.transpose(-2, -1), dim=-1)
