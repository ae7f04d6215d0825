"""Tokens of pictures from an adapted image tower, its last block run in any way.

Letters: B pictures, L tokens, C tower width.
"""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor

from ovs_core.clip import ImageEncoder
from ovs_core.clip.image_encoder import BlockFunction, ImageTokens

from .adaptation import Adaptation


def encode_tokens(
    encoder: ImageEncoder,
    adaptation: Adaptation,
    images: Tensor,
    *,
    taps: Collection[int] = (),
    last_block: BlockFunction | None = None,
) -> ImageTokens:
    """Encode pictures as an adaptation has it.

    Args:
        encoder: of the adapted CLIP.
        adaptation: how it was adapted.
        images: (B, 3, H, W) normalised pictures.
        taps: image blocks whose outputs are kept.
        last_block: takes the place of the last block's forward, see ``LAST_BLOCKS``; None for the
            block as it is, which gives the picture's own feature.

    Returns:
        CLS and patch tokens in the joint space, and the taps (B, L, C), that of the last block with
        what the adaptation adds at the end.
    """
    last = encoder.num_blocks - 1
    tokens, grid = encoder.embed(images)
    tokens, kept = encoder.run_blocks(
        tokens,
        grid,
        taps={*taps, *adaptation.image_taps()},
        blocks={} if last_block is None else {last: last_block},
        before=adaptation.edit_tokens,
    )
    tokens = adaptation.finish_image(tokens, kept)
    return encoder.split(encoder.project(tokens), grid, {**kept, last: tokens})
