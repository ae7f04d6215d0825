"""Baselines that add parts to CLIP: adapters, visual prompts and a ladder of side blocks.

Letters: B pictures or prompts, L tokens, C tower width, s side width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ovs_core.clip import CLIP
from ovs_core.errors import UserError

from .adaptation import Adaptation, blocks, towers


class Bottleneck(nn.Module):
    """``x + up(act(down(x)))``, the identity at first.

    Args:
        width: C.
        inner: width of the bottleneck.
    """

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, inner)
        self.up = nn.Linear(inner, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Adapt (..., C)."""
        return x + self.up(nn.functional.gelu(self.down(x)))


class Adapter(Adaptation):
    """Two bottlenecks per block, each at the end of a residual branch.

    open_clip passes both branches through ``ls_1`` and ``ls_2`` (layer scale, the identity in the
    OpenAI models); the bottleneck goes behind them.

    Args:
        clip: the CLIP; its blocks' ``ls_1`` and ``ls_2`` are extended.
        inner: width of the bottlenecks.
    """

    mode = "adapter"
    foldable = False

    def __init__(self, clip: CLIP, inner: int) -> None:
        super().__init__()
        for block in blocks(clip):
            width, device = block.attn.embed_dim, block.attn.in_proj_bias.device
            block.ls_1 = nn.Sequential(block.ls_1, Bottleneck(width, inner).to(device))
            block.ls_2 = nn.Sequential(block.ls_2, Bottleneck(width, inner).to(device))


class PromptTuning(Adaptation):
    """Learned tokens behind the class token, new ones in every image block (VPT-deep).

    Args:
        clip: the CLIP; left as it is.
        length: tokens per block.
        depth: how many blocks have them; 0 for all.
    """

    mode = "vpt"
    trains_text = False
    foldable = False

    def __init__(self, clip: CLIP, length: int, depth: int = 0) -> None:
        super().__init__()
        tower = towers(clip)["image"]
        count = len(tower.resblocks)
        if not (0 <= depth <= count and length >= 1):
            raise UserError(
                f"MODEL.CATSEG.PEFT: PROMPT_DEPTH {depth}, PROMPT_LENGTH {length}: the image tower "
                f"has {count} blocks, and the length must be at least 1"
            )
        self.tokens = nn.Parameter(torch.empty(depth or count, length, tower.width))
        nn.init.xavier_uniform_(self.tokens)
        self.to(clip.pixel_mean.device)

    def edit_tokens(self, index: int, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Remove the previous block's prompts and put in this one's."""
        parts = [tokens[:, :1], tokens[:, -grid[0] * grid[1] :]]
        if index < len(self.tokens):
            parts.insert(1, self.tokens[index].expand(tokens.shape[0], -1, -1).to(tokens.dtype))
        return torch.cat(parts, dim=1)


class SideBlock(nn.Module):
    """A rung of the ladder: gate the frozen block's output in, then a pre-norm transformer block.

    Args:
        width: C.
        side: s.
        heads: attention heads of the side block.
    """

    def __init__(self, width: int, side: int, heads: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, side)
        self.gate = nn.Parameter(torch.zeros(()))
        self.norm1 = nn.LayerNorm(side)
        self.attn = nn.MultiheadAttention(side, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(side)
        self.mlp = nn.Sequential(nn.Linear(side, 4 * side), nn.GELU(), nn.Linear(4 * side, side))

    def forward(self, side: Tensor, frozen: Tensor, mask: Tensor | None) -> Tensor:
        """Go one rung up: (B, L, s) side state and (B, L, C) frozen output -> (B, L, s)."""
        mu = torch.sigmoid(self.gate / 0.1)
        x = mu * self.down(frozen) + (1 - mu) * side
        y = self.norm1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.norm2(x))


class Ladder(nn.Module):
    """Side network over all blocks of one tower; its end is added to the tower's output.

    Args:
        width: C.
        depth: number of frozen blocks.
        side: s.
    """

    HEADS = 4

    def __init__(self, width: int, depth: int, side: int) -> None:
        super().__init__()
        if side < 1 or side % self.HEADS:
            raise UserError(
                f"MODEL.CATSEG.PEFT.LST_WIDTHS: {side} is no positive multiple of {self.HEADS}"
            )
        self.rungs = nn.ModuleList(SideBlock(width, side, self.HEADS) for _ in range(depth))
        self.up = nn.Linear(side, width)
        nn.init.zeros_(self.up.weight)  # the model starts as the frozen CLIP
        nn.init.zeros_(self.up.bias)

    def forward(self, outputs: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """Outputs of all frozen blocks, each (B, L, C) -> what is added to the last one."""
        side: Tensor = outputs[0].new_zeros(())
        for rung, frozen in zip(self.rungs, outputs, strict=True):
            side = rung(side, frozen, mask)
        return self.up(side)


class LadderTuning(Adaptation):
    """Ladder side-tuning (LST) of both towers; no gradient goes through CLIP itself.

    Args:
        clip: the CLIP; its text blocks get forward hooks that feed the text ladder.
        widths: side widths (image, text).
    """

    mode = "lst"
    foldable = False

    def __init__(self, clip: CLIP, widths: tuple[int, int]) -> None:
        super().__init__()
        image, text = towers(clip)["image"], towers(clip)["text"]
        self.image = Ladder(image.width, len(image.resblocks), widths[0])
        self.text = Ladder(text.width, len(text.resblocks), widths[1])
        self.to(clip.pixel_mean.device)
        self._depth = len(image.resblocks)
        self._outputs: list[Tensor] = []  # of the text blocks of a forward under way
        for index, block in enumerate(text.resblocks):
            block.register_forward_hook(partial(self._climb, index), with_kwargs=True)

    def image_taps(self) -> tuple[int, ...]:
        """All image blocks."""
        return tuple(range(self._depth))

    def finish_image(self, tokens: Tensor, taps: dict[int, Tensor]) -> Tensor:
        """Add the image ladder's end."""
        return tokens + self.image([taps[i] for i in range(self._depth)])

    def _climb(
        self,
        index: int,
        block: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        output: Tensor,
    ) -> Tensor:
        """Collect a text block's output; behind the last block, add the text ladder's end."""
        if index == 0:
            self._outputs = []
        self._outputs.append(output)
        if len(self._outputs) < len(self.text.rungs):
            return output
        outputs, self._outputs = self._outputs, []
        mask = kwargs.get("attn_mask")
        return output + self.text(outputs, None if mask is None else mask.to(output.dtype))
