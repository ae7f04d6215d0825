"""CLIP's image tower with one rewired block, and the correlation of another block taken on the way.

Paper section 4.1. Released code rewires the last block and takes the correlation matrix that is
clustered from the block before it; blocks are counted from the end so that any depth works.
Letters: B pictures, L = 1 + N tokens, N = h * w patches, C tower width, D joint width.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from torch import Tensor, nn

from ovs_core.clip import ImageEncoder, PositionRule
from ovs_core.clip.attention import finish_block, project_qkv
from ovs_core.clip.image_encoder import BlockFunction
from ovs_core.clip.towers import Block
from ovs_core.clip.vision_towers import Accepted
from ovs_core.errors import check_choice
from ovs_core.modeling.scores import Size

from .attention import KEY, MODES, AttentionRule, attend
from .correlation import correlation


@dataclass(frozen=True)
class Unfinished:
    """What the last block needs to be run again.

    Attributes:
        entered: (B, L, C) its input.
        images: (B, 3, H, W) what the tower was shown.
        earlier: (B, H, L, L) mean attention of earlier blocks, or None.
    """

    entered: Tensor
    images: Tensor
    earlier: Tensor | None = None

    def one(self, row: int) -> Unfinished:
        """Give one picture of the batch, B = 1."""
        own = slice(row, row + 1)
        earlier = None if self.earlier is None else self.earlier[own]
        return Unfinished(self.entered[own], self.images[own], earlier)


@dataclass(frozen=True)
class Dense:
    """What is known of a batch of pictures before any word.

    Attributes:
        tokens: (B, L, D) projected tokens, CLS first if there is one, not normalised.
        grid: (h, w).
        correlation: (B, L, L) matrix to cluster, or None if none was asked for.
        keys: (B, N, C) output-projected keys of the last block, for MaskCLIP's key smoothing; or
            None.
        has_cls: whether the first token is CLS.
        unfinished: what the last block needs to be run again, for ResCLIP's feedback; or None.
    """

    tokens: Tensor
    grid: tuple[int, int]
    correlation: Tensor | None = None
    keys: Tensor | None = None
    has_cls: bool = True
    unfinished: Unfinished | None = None

    @property
    def patches(self) -> Tensor:
        """(B, N, D) projected patch tokens."""
        return self.tokens[:, 1:] if self.has_cls else self.tokens

    def one(self, row: int) -> Dense:
        """Give one picture of the batch, B = 1."""

        def own(part: Tensor | None) -> Tensor | None:
            return None if part is None else part[row : row + 1]

        return replace(
            self,
            tokens=self.tokens[row : row + 1],
            correlation=own(self.correlation),
            keys=own(self.keys),
            unfinished=None if self.unfinished is None else self.unfinished.one(row),
        )


class Tower(Protocol):
    """What the model needs of a tower.

    Attributes:
        encoder: the image tower that is run.
    """

    encoder: ImageEncoder

    def __call__(self, images: Tensor) -> Dense:
        """Encode (B, 3, H, W) normalised pictures."""


@dataclass(frozen=True)
class TowerRule:
    """How the tower is run.

    Attributes:
        attention: of the rewired block: a mode of ``attention.attend``, or a rule of one's own.
        layer: index of the rewired block, negative from the end.
        residual: whether the rewired block adds its input to what it attends to.
        mlp: whether its second half follows.
        corr_layer: block whose correlation is taken; None for no matrix.
        corr_kind: ``cosine`` or ``inner``.
        corr_heads: ``per_head`` or ``concat``.
        positions: how the position table is fitted.
    """

    attention: str | AttentionRule = "softmax_sum"
    layer: int = -1
    residual: bool = True
    mlp: bool = True
    corr_layer: int | None = -2
    corr_kind: str = "cosine"
    corr_heads: str = "per_head"
    positions: PositionRule = field(default_factory=lambda: PositionRule(offset=0.1))


class RecoveryTower:
    """Encode pictures with semantic correlation recovery; a view of the tower and no module.

    Args:
        visual: ViT of a CLIP, not copied.
        rule: what is rewired and what is taken.
        accepts: which towers, see ``ImageEncoder``.
    """

    def __init__(self, visual: nn.Module, rule: TowerRule, *, accepts: Accepted = "cls") -> None:
        if isinstance(rule.attention, str):
            check_choice(KEY, rule.attention, MODES)
        self.encoder = ImageEncoder(visual, positions=rule.positions, accepts=accepts)
        self.rule = rule
        self._rewired = self.encoder.block_index(rule.layer)
        self._correlated = (
            None if rule.corr_layer is None else self.encoder.block_index(rule.corr_layer)
        )

    def __call__(self, images: Tensor, *, allowed: Tensor | None = None) -> Dense:
        """Encode pictures.

        Args:
            images: (B, 3, H, W) normalised pictures of at least one patch.
            allowed: (B, L, L) bool, pairs that may attend in the rewired block; default all.

        Returns:
            Tokens, grid and the correlation matrix.
        """
        taken: list[Tensor] = []
        tokens, grid = self.encoder.embed(images)
        blocks = self.blocks(grid, allowed=allowed, taken=taken)
        tokens, _ = self.encoder.run_blocks(tokens, grid, blocks=blocks)
        matrix = taken[0] if taken else None
        projected = self.encoder.project(tokens)
        return Dense(projected, grid, matrix, has_cls=self.encoder.has_cls)

    def blocks(
        self, grid: Size, *, allowed: Tensor | None = None, taken: list[Tensor] | None = None
    ) -> dict[int, BlockFunction]:
        """Give the blocks that run in another way than CLIP has them.

        Args:
            grid: (h, w) of the patches.
            allowed: see ``__call__``.
            taken: list to which the correlation matrix is appended.
        """

        def run(index: int, block: Block, tokens: Tensor) -> Tensor:
            q, k, v = project_qkv(block, tokens)
            if taken is not None and index == self._correlated:
                taken.append(self._correlation(q, k, v))
            if index != self._rewired:
                return finish_block(block, tokens, attend(q, k, v, "vanilla"))
            attended = self.attended(q, k, v, grid, allowed=allowed)
            residual = tokens if self.rule.residual else None
            return finish_block(block, residual, attended, mlp=self.rule.mlp)

        special = {self._rewired, self._correlated}
        return {index: partial(run, index) for index in special if index is not None}

    def attended(
        self, q: Tensor, k: Tensor, v: Tensor, grid: Size, *, allowed: Tensor | None = None
    ) -> Tensor:
        """Mix values (B, H, L, d) as the rewired block does: (B, L, C)."""
        if isinstance(self.rule.attention, str):
            return attend(q, k, v, self.rule.attention, allowed=allowed)
        return self.rule.attention(q, k, v, grid)

    def _correlation(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return correlation(q, k, v, kind=self.rule.corr_kind, heads=self.rule.corr_heads)
