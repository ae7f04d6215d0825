"""Recognition: copies of CLIP's class token look at the picture through the masks' biases.

They go through CLIP's last blocks beside the tokens of the picture, which they do not change.
Letters: B pictures, Q queries, M CLIP width, E joint width, H heads of CLIP, A bias heads (H or 1),
N = gh * gw patches, h x w adapter grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.clip import ImageEncoder
from ovs_core.clip.attention import finish_block, merge_heads, project_qkv
from ovs_core.clip.towers import Block
from ovs_core.errors import check_choice
from ovs_core.modeling.scores import Size, resize

HIDDEN = -100.0  # of a key that a token shall not see; finite as published
TOKEN_FORMATS = ("cls_token", "learnable_token", "pos_embedding")


def _bicubic(maps: Tensor, size: Size) -> Tensor:
    return F.interpolate(maps, size=size, mode="bicubic", align_corners=False)


DOWNSAMPLING: dict[str, Callable[[Tensor, Size], Tensor]] = {
    "max": F.adaptive_max_pool2d,
    "avg": F.adaptive_avg_pool2d,
    "bilinear": resize,
    "bicubic": _bicubic,
}


def biased_mask(bias: Tensor) -> Tensor:
    """What is added to the attention scores of [queries, class token, patches].

    Args:
        bias: (B, H, Q, N) of the queries towards the patches.

    Returns:
        (B, H, Q + 1 + N, Q + 1 + N). A query sees itself and, through its bias, the patches; class
        token and patches see each other, as in CLIP.
    """
    batch, heads, queries, patches = bias.shape
    alone = torch.eye(queries, dtype=torch.bool, device=bias.device)
    own = bias.new_full((queries, queries), HIDDEN).masked_fill(alone, 0.0)
    own = torch.cat([own, bias.new_full((queries, 1), HIDDEN)], dim=1)
    hidden = bias.new_full((1 + patches, queries), HIDDEN)
    others = torch.cat([hidden, bias.new_zeros(1 + patches, 1 + patches)], dim=1)
    rows = torch.cat([own.expand(batch, heads, -1, -1), bias], dim=-1)
    return torch.cat([rows, others.expand(batch, heads, -1, -1)], dim=2)


class Recognition(nn.Module):
    """Give each mask a vector in the joint space.

    Args:
        encoder: view of CLIP's image tower.
        split: first block of recognition.
        queries: Q.
        downsampling: how biases come to CLIP's grid, a key of ``DOWNSAMPLING``.
        token_format: where the queries' tokens start, one of ``TOKEN_FORMATS``.
        cross_attention: run them apart from the picture's tokens; the numbers are the same up to
            rounding.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        *,
        split: int,
        queries: int,
        downsampling: str = "max",
        token_format: str = "cls_token",
        cross_attention: bool = False,
    ) -> None:
        super().__init__()
        check_choice("MODEL.SAN.REC_DOWNSAMPLE_METHOD", downsampling, DOWNSAMPLING)
        check_choice("MODEL.SAN.SOS_TOKEN_FORMAT", token_format, TOKEN_FORMATS)
        self.encoder, self.split, self.queries = encoder, split, queries
        self.downsample = DOWNSAMPLING[downsampling]
        self.token_format, self.cross_attention = token_format, cross_attention
        if token_format != "cls_token":
            self.sos_token = nn.Parameter(torch.empty(queries, 1, encoder.width))
            nn.init.normal_(self.sos_token, std=0.02)

    @property
    def blocks(self) -> list[Block]:
        """The blocks that recognise."""
        return list(self.encoder.visual.transformer.resblocks)[self.split :]

    def forward(self, tokens: Tensor, grid: Size, biases: Sequence[Tensor]) -> Tensor:
        """Recognise what the masks show.

        Args:
            tokens: (B, 1 + N, M) class token and patches as they enter the first block.
            grid: (gh, gw).
            biases: one (B, A, Q, h, w) for all blocks, or one for each.

        Returns:
            (B, Q, E) unit vectors.
        """
        fitted = [self.fit(bias, grid).flatten(3) for bias in biases]
        fitted = fitted * len(self.blocks) if len(fitted) == 1 else fitted
        run = self._apart if self.cross_attention else self._together
        found = self.encoder.project(run(self.start(tokens[:, :1]), tokens, fitted))
        return F.normalize(found, dim=-1)

    def start(self, cls: Tensor) -> Tensor:
        """(B, 1, M) class token -> (B, Q, M) tokens of the queries."""
        if self.token_format == "cls_token":
            return cls.expand(-1, self.queries, -1)
        own = self.sos_token.transpose(0, 1).expand(cls.shape[0], -1, -1)
        return own if self.token_format == "learnable_token" else cls + own

    def fit(self, bias: Tensor, grid: Size) -> Tensor:
        """Bring a bias (B, A, Q, h, w) to CLIP's grid and heads: (B, H, Q, gh, gw)."""
        maps = self.downsample(bias.flatten(1, 2), grid).unflatten(1, bias.shape[1:3])
        heads = self.blocks[0].attn.num_heads
        return maps.expand(-1, heads, -1, -1, -1)

    def _together(self, found: Tensor, tokens: Tensor, biases: list[Tensor]) -> Tensor:
        """Queries and picture in one sequence under a mask: (B, Q, M)."""
        together = torch.cat([found, tokens], dim=1)
        last = len(self.blocks) - 1
        mask, masked = torch.empty(0), None
        for number, (block, bias) in enumerate(zip(self.blocks, biases, strict=True)):
            if bias is not masked:
                mask, masked = biased_mask(bias), bias
            # What the last block makes of the picture nobody reads.
            rows = self.queries if number == last else together.shape[1]
            together = _masked_block(block, together, mask, rows)
        return together

    def _apart(self, found: Tensor, tokens: Tensor, biases: list[Tensor]) -> Tensor:
        """Queries attend to patches and to themselves, the picture to itself: (B, Q, M)."""
        for block, bias in zip(self.blocks, biases, strict=True):
            found = _cross_block(block, found, tokens[:, 1:], bias)
            tokens = block(tokens)
        return found


def _masked_block(block: Block, tokens: Tensor, mask: Tensor, rows: int) -> Tensor:
    """Run a block under a mask and give the first rows of its output."""
    q, k, v = project_qkv(block, tokens)
    attended = F.scaled_dot_product_attention(q[:, :, :rows], k, v, attn_mask=mask[:, :, :rows])
    # The kernels lay their results out in different ways, of which an exported program fixes one.
    return finish_block(block, tokens[:, :rows], merge_heads(attended.contiguous()))


def _cross_block(block: Block, found: Tensor, patches: Tensor, bias: Tensor) -> Tensor:
    """Run a block for the queries' tokens alone."""
    q, own_k, own_v = project_qkv(block, found)
    _, k, v = project_qkv(block, patches)
    scale = q.shape[-1] ** -0.5
    own = (q * own_k).sum(-1, keepdim=True) * scale
    shares = torch.cat([q @ k.transpose(-2, -1) * scale + bias, own], dim=-1).softmax(dim=-1)
    attended = shares[..., :-1] @ v + shares[..., -1:] * own_v
    return finish_block(block, found, merge_heads(attended))
