"""IP-CLIP (MAFT): CLIP's image tower reads a picture and mask proposals at once.

Behind some block the class token is copied, one copy per mask, and from there on each copy sees
itself and the patches of its mask alone; patches see patches. Letters: B pictures, Q masks, N = h *
w patches, C tower width, E joint width.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.clip import ImageEncoder, PositionRule
from ovs_core.clip.attention import finish_block, merge_heads, project_qkv
from ovs_core.clip.towers import Block
from ovs_core.errors import UserError
from ovs_core.modeling.mask2former import fit_masks

INSIDE = 0.5  # a patch belongs to a mask whose resized probability there is at least this


class ProposalEncoder:
    """Embed pictures and masks in the joint space by a ViT image tower.

    A view of the tower and no module, as ``ImageEncoder`` is.

    Args:
        visual: open_clip ``VisionTransformer`` with a CLS token, not copied.
        start: first block in which the copies of the class token look at masks.

    Raises:
        UserError: if the tower is no ViT, or has no such block.
    """

    def __init__(self, visual: nn.Module, *, start: int = 8) -> None:
        self.tower = ImageEncoder(visual, positions=PositionRule(align_corners=True))
        if not 0 <= start < self.tower.num_blocks:
            raise UserError(
                f"MODEL.MAFT.START_LAYER: block {start} does not exist; the tower has "
                f"{self.tower.num_blocks} blocks, the first is 0"
            )
        self.start = start

    def embed_pictures(self, images: Tensor) -> Tensor:
        """Ordinary CLIP: (B, 3, H, W) normalised pictures -> (B, E), not normalised."""
        tokens, _ = self.tower.run_blocks(*self.tower.embed(images))
        return self.tower.project(tokens[:, 0])

    def embed_masks(self, images: Tensor, masks: Tensor) -> Tensor:
        """Embed what the masks show.

        Args:
            images: (B, 3, H, W) normalised pictures.
            masks: (B, Q, H', W') probabilities; no gradient reaches them. A mask that reaches no
                patch leaves its class token to itself.

        Returns:
            (B, Q, E), not normalised.
        """
        tokens, _ = self.run(images, masks)
        return self.tower.project(tokens[:, : masks.shape[1]])

    def run(
        self, images: Tensor, masks: Tensor, *, taps: Collection[int] = ()
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Send pictures and masks through the tower.

        Args:
            images: (B, 3, H, W) normalised pictures.
            masks: (B, Q, H', W') probabilities.
            taps: block indices whose outputs are kept.

        Returns:
            (B, Q + N, C) output of the last block, class tokens first, and the taps.
        """
        tokens, grid = self.tower.embed(images)
        count = masks.shape[1]
        block = partial(masked_block, visible=visible_tokens(masks, grid))

        def copy_class(index: int, tokens: Tensor, _: tuple[int, int]) -> Tensor:
            if index != self.start:
                return tokens
            return torch.cat([tokens[:, :1].expand(-1, count, -1), tokens[:, 1:]], dim=1)

        masked = range(self.start, self.tower.num_blocks)
        return self.tower.run_blocks(
            tokens, grid, taps=taps, blocks=dict.fromkeys(masked, block), before=copy_class
        )


@torch.no_grad()
def visible_tokens(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """Which tokens the class token of each mask sees.

    Args:
        masks: (B, Q, H, W) probabilities, resized to the grid before they are compared.
        grid: (h, w) of the patches.

    Returns:
        (B, Q, Q + N) bool: itself, no other class token, and the patches inside the mask.
    """
    batch, count = masks.shape[:2]
    patches = (fit_masks(masks.float(), grid) >= INSIDE).flatten(2)
    itself = torch.eye(count, dtype=torch.bool, device=masks.device).expand(batch, -1, -1)
    return torch.cat([itself, patches], dim=-1)


def masked_block(block: Block, tokens: Tensor, *, visible: Tensor) -> Tensor:
    """Run a block in which class tokens see what is visible to them, and patches see patches.

    Args:
        block: open_clip ``ResidualAttentionBlock``.
        tokens: (B, Q + N, C), class tokens first.
        visible: (B, Q, Q + N) bool.

    Returns:
        (B, Q + N, C) block output.
    """
    count = visible.shape[1]
    q, k, v = project_qkv(block, tokens)
    classes = F.scaled_dot_product_attention(q[:, :, :count], k, v, attn_mask=visible[:, None])
    q, k, v = (x[:, :, count:] for x in (q, k, v))
    patches = F.scaled_dot_product_attention(q, k, v)
    return finish_block(block, tokens, merge_heads(torch.cat([classes, patches], dim=2)))
