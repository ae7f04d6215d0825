"""Attention of tokens with themselves: CLIPtrase's last block and its alternatives.

Paper section 4.1 (Table 4 for the alternatives). The paper writes a cosine matrix (equation 3); the
released code, followed here by default, adds three softmax maps and keeps cosines for clustering
alone.
Letters: B pictures, H heads, L tokens (CLS first), d head width, C = H * d.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from ovs_core.clip.attention import merge_heads
from ovs_core.errors import check_choice
from ovs_core.modeling.scores import Size

from .correlation import correlation

# Which of queries, keys and values attend to themselves; the results are added.
SELF_STREAMS = {
    "softmax_sum": "qkv", "softmax_mean": "qkv", "csa": "qk", "qq": "q", "kk": "k", "vv": "v"
}  # fmt: skip
MODES = (*SELF_STREAMS, "identity", "vanilla", "cos_shared", "inner_shared")
KEY = "MODEL.CLIPTRASE.SCR.ATTENTION"
# queries, keys and values (B, H, L, d) and the grid of the patches -> (B, L, C) mixed values
AttentionRule = Callable[[Tensor, Tensor, Tensor, Size], Tensor]


def attend(q: Tensor, k: Tensor, v: Tensor, mode: str, *, allowed: Tensor | None = None) -> Tensor:
    """Mix the values of a block.

    Args:
        q: (B, H, L, d) queries.
        k: (B, H, L, d) keys.
        v: (B, H, L, d) values.
        mode: ``softmax_sum`` adds the softmax maps of q, k and v with themselves, rows sum to 3
            (the released code); ``softmax_mean`` divides by 3; ``csa`` uses q and k (SCLIP); ``qq``
            (ClearCLIP), ``kk`` and ``vv`` use one of them; ``identity`` keeps each token to itself
            (MaskCLIP); ``vanilla`` is CLIP's own attention; ``cos_shared`` uses one non-negative
            cosine map for all heads; ``inner_shared`` the softmax of one inner-product map.
        allowed: (B, L, L) bool, pairs that may attend (ground-truth ablation); default all.

    Returns:
        (B, L, C) mixed values, heads side by side.

    Raises:
        UserError: for an unknown mode.
    """
    check_choice(KEY, mode, MODES)
    if mode == "identity":
        return merge_heads(v)
    if mode in ("cos_shared", "inner_shared"):
        return merge_heads(_shared_weights(q, k, v, mode, allowed).unsqueeze(1) @ v)
    mask = None if allowed is None else allowed.unsqueeze(1)
    if mode == "vanilla":
        return merge_heads(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
    streams = {"q": q, "k": k, "v": v}
    chosen = (streams[name] for name in SELF_STREAMS[mode])
    mixed = reduce(
        Tensor.add_, (F.scaled_dot_product_attention(x, x, v, attn_mask=mask) for x in chosen)
    )
    return merge_heads(mixed / 3 if mode == "softmax_mean" else mixed)


def allowed_pairs(patch_labels: Tensor) -> Tensor:
    """Let patches of the same label see each other, and everyone see CLS (Table 4, "j in GT").

    Args:
        patch_labels: (B, N) ground-truth label per patch.

    Returns:
        (B, 1 + N, 1 + N) bool.
    """
    same = patch_labels.unsqueeze(2) == patch_labels.unsqueeze(1)
    return F.pad(same, (1, 0, 1, 0), value=True)


def _shared_weights(q: Tensor, k: Tensor, v: Tensor, mode: str, allowed: Tensor | None) -> Tensor:
    if mode == "inner_shared":
        scores = correlation(q, k, v, kind="inner")
        if allowed is not None:
            scores = scores.masked_fill(~allowed, float("-inf"))
        return torch.softmax(scores, dim=-1)
    weights = correlation(q, k, v).clamp_min(0)
    if allowed is not None:
        weights = weights * allowed
    return weights / weights.sum(dim=-1, keepdim=True)
