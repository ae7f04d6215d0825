"""ResCLIP's last block: attention of earlier blocks mixed in, and feedback of a first pass.

Letters: B pictures, H heads, L = 1 + N tokens (CLS first), C tower width, D joint width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ovs_core.clip import ImageEncoder
from ovs_core.clip.attention import finish_block, merge_heads, project_qkv
from ovs_core.clip.image_encoder import BlockFunction
from ovs_core.clip.positions import Positions
from ovs_core.clip.towers import Block
from ovs_core.errors import UserError
from ovs_core.modeling.scores import Size

from .feedback import FeedbackRule
from .neighbours import neighbourhood
from .scoring import CosineScorer
from .tower import Dense, Unfinished

# Base attention -> what is compared, and whether neighbours count more.
BASES = {
    "resclip": ((("k", "k"),), True),
    "naclip": ((("k", "k"),), True),
    "clearclip": ((("q", "q"),), False),
    "sclip": ((("q", "q"), ("k", "k")), False),
    "vanilla": ((("q", "k"),), False),
}


@dataclass(frozen=True)
class ResidualRule:
    """How the weights of the last block are made.

    Attributes:
        base: a name of ``BASES``.
        std: of the neighbourhood, in patches.
        whole: whether the residual and the MLP are kept.
        layers: blocks whose ordinary attention is mixed in; none for off.
        mix: factor on the sum, and share of those blocks in it.
        feedback: factor on the scores, and share of the feedback in them.
    """

    base: str = "resclip"
    std: float = 5.0
    whole: bool = False
    layers: Sequence[int] = (5, 6, 7, 8)
    mix: tuple[float, float] = (2.0, 0.3)
    feedback: tuple[float, float] = (2.1, 0.7)

    def weights(
        self, q: Tensor, k: Tensor, earlier: Tensor | None, agreed: Tensor | None, grid: Size
    ) -> Tensor:
        """Make the weights of the last block.

        Args:
            q: (B, H, L, d) queries.
            k: (B, H, L, d) keys.
            earlier: (B, H, L, L) mean attention of earlier blocks, or None.
            agreed: (B, L, L) feedback, or None in the first pass.
            grid: (h, w).

        Returns:
            (B, H, L, L).
        """
        pairs, near = BASES[self.base]
        streams = {"q": q, "k": k}
        total = torch.zeros((), dtype=q.dtype, device=q.device)
        for one, other in pairs:
            scores = streams[one] @ streams[other].transpose(-2, -1) * q.shape[-1] ** -0.5
            if agreed is not None:
                factor, share = self.feedback
                scores = factor * ((1 - share) * scores + share * agreed.unsqueeze(1))
            if near:
                near_by = neighbourhood(grid, self.std, like=scores)
                scores = scores + near_by[-scores.shape[2] :, -scores.shape[2] :]  # N without CLS
            total = total + scores.softmax(dim=-1)
        if earlier is None:
            return total
        factor, share = self.mix
        return factor * ((1 - share) * total + share * earlier)


class ResidualTower:
    """CLIP's tower, whose last block can be run again with feedback.

    Args:
        visual: ViT of a CLIP, not copied.
        rule: of the last block.
        positions: how the position table is fitted.

    Raises:
        UserError: if a layer that is mixed in does not exist or is the last one.
    """

    def __init__(self, visual: nn.Module, rule: ResidualRule, positions: Positions) -> None:
        self.encoder = ImageEncoder(visual, positions=positions, accepts="any")
        self.rule = rule
        self._mixed = {self.encoder.block_index(layer) for layer in rule.layers}
        if self.encoder.num_blocks - 1 in self._mixed:
            raise UserError(
                f"MODEL.CLIPTRASE.RESCLIP.LAYERS {list(rule.layers)}: the last of "
                f"{self.encoder.num_blocks} blocks cannot be mixed into itself; name earlier ones"
            )

    def __call__(self, images: Tensor) -> Dense:
        """Encode (B, 3, H, W) normalised pictures, without feedback."""
        maps: list[Tensor] = []
        tokens, grid = self.encoder.embed(images)
        last = self.encoder.num_blocks - 1

        def ordinary(block: Block, tokens: Tensor) -> Tensor:
            q, k, v = project_qkv(block, tokens)
            maps.append((q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1))
            return finish_block(block, tokens, merge_heads(maps[-1] @ v))

        def stop(block: Block, tokens: Tensor) -> Tensor:
            return tokens

        blocks: dict[int, BlockFunction] = dict.fromkeys(self._mixed, ordinary)
        entered, _ = self.encoder.run_blocks(tokens, grid, blocks={**blocks, last: stop})
        earlier = torch.stack(maps).mean(dim=0) if maps else None
        begun = Unfinished(entered, images, earlier)
        tokens = self.finish(begun, grid)
        return Dense(tokens, grid, has_cls=self.encoder.has_cls, unfinished=begun)

    def finish(self, begun: Unfinished, grid: Size, agreed: Tensor | None = None) -> Tensor:
        """Run the last block: (B, L, D) tokens.

        Args:
            begun: what enters it.
            grid: (h, w).
            agreed: (B, L, L) feedback, or None.
        """
        block = self.encoder.tower.blocks(grid)[-1]
        whole = self.rule.whole
        q, k, v = project_qkv(block, begun.entered)
        weights = self.rule.weights(q, k, begun.earlier, agreed, grid)
        residual = begun.entered if whole else None
        tokens = finish_block(block, residual, merge_heads(weights @ v), mlp=whole)
        return self.encoder.project(tokens)


@dataclass(frozen=True)
class FeedbackScorer:
    """Cosines of a second pass through the last block, which the first one's labels guide.

    Attributes:
        tower: runs the last block again.
        cosines: of the second pass.
        rule: from the first pass to the feedback.
    """

    tower: ResidualTower
    cosines: CosineScorer
    rule: FeedbackRule

    def __call__(self, dense: Dense, text: Tensor) -> Tensor:
        """Score (B, Q, h, w) from tokens and (Q, D) unit text."""
        begun = dense.unfinished
        if begun is None:
            raise ValueError("feedback needs a tower that gives what enters its last block")
        first = CosineScorer(1.0)(dense, text)
        agreed = self.rule(first, begun.images, self.tower.encoder.patch_size)
        if not dense.has_cls:
            agreed = agreed[:, 1:, 1:]
        tokens = self.tower.finish(begun, dense.grid, agreed)
        return self.cosines(replace(dense, tokens=tokens), text)
