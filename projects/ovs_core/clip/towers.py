"""What this suite uses of open_clip's and timm's modules, whose packages declare no types.

Letters: B pictures, L tokens, C width, D joint width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, cast

from torch import Tensor, nn


class Block(Protocol):
    """A residual attention block of a transformer: (B, L, C) -> (B, L, C)."""

    ln_1: nn.Module
    ln_2: nn.Module
    ls_1: nn.Module
    ls_2: nn.Module
    mlp: nn.Module
    attn: nn.MultiheadAttention

    def __call__(self, tokens: Tensor, /) -> Tensor:
        """Run the block as CLIP has it."""


class Blocks(Protocol):
    """The blocks of a transformer in their order, an ``nn.ModuleList``."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Block]: ...
    def __getitem__(self, index: int, /) -> Block: ...


class Transformer(Protocol):
    """A stack of blocks.

    Attributes:
        width: C.
        resblocks: the blocks.
        grad_checkpointing: whether training computes them again in the backward pass.
    """

    width: int
    resblocks: Blocks
    grad_checkpointing: bool

    def __call__(self, tokens: Tensor, /, *, attn_mask: Tensor | None) -> Tensor:
        """(B, L, C) -> (B, L, C)."""


class VisionTower(Protocol):
    """A ViT image tower; ``proj`` is (C, D)."""

    patch_size: tuple[int, int]
    grid_size: tuple[int, int]
    conv1: nn.Conv2d
    class_embedding: Tensor
    positional_embedding: Tensor
    ln_pre: nn.Module
    transformer: Transformer
    ln_post: Callable[[Tensor], Tensor]
    proj: Tensor | None
    pool_type: str
    final_ln_after_pool: bool


class TextTower(Protocol):
    """open_clip's own text tower, which reads its feature at the end token."""

    token_embedding: nn.Embedding
    positional_embedding: Tensor
    transformer: Transformer
    attn_mask: Tensor | None
    ln_final: nn.Module
    text_projection: Tensor | nn.Linear | None
    text_pool_type: str


class ClipParts(Protocol):
    """What every open_clip model has."""

    visual: nn.Module
    logit_scale: Tensor

    def encode_text(self, tokens: Tensor, /, normalize: bool = False) -> Tensor:
        """(P, S) ids -> (P, D) features, unit vectors if asked for."""

    def encode_image(self, images: Tensor, /, normalize: bool = False) -> Tensor:
        """(B, 3, H, W) normalised pictures -> (B, D) features, unit vectors if asked for."""

    def set_grad_checkpointing(self, enable: bool, /) -> None:
        """Compute the blocks of both towers again in the backward pass, or not."""


class ConvNeXtTrunk(Protocol):
    """timm's ConvNeXt without its classifier."""

    stem: nn.Module
    stages: nn.Sequential
    norm_pre: nn.Module
    feature_info: Sequence[dict[str, Any]]
    forward_head: Callable[[Tensor], Tensor]


class ConvNeXtTower(Protocol):
    """A ConvNeXt image tower: timm's trunk and the projection to the joint space."""

    trunk: ConvNeXtTrunk
    head: Callable[[Tensor], Tensor]


class AttentionPool(Protocol):
    """The attention pooling on top of a ResNet tower."""

    num_heads: int
    positional_embedding: Tensor
    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear
    c_proj: Callable[[Tensor], Tensor]


class ResNetTower(Protocol):
    """OpenAI's ResNet image tower, whose stem has three convolutions."""

    avgpool: nn.Module
    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential
    attnpool: AttentionPool


def clip_parts(model: nn.Module) -> ClipParts:
    """See an open_clip model as its parts."""
    return cast(ClipParts, model)  # open_clip's base class declares none of them
