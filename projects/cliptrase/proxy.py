"""ProxyCLIP's last block: CLIP's values, mixed as another network's features agree.

Letters: B pictures, C tower width, N = I * J cells of the other network's grid, h x w CLIP's grid,
D joint width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.clip import ImageEncoder
from ovs_core.clip.attention import finish_block, project_values
from ovs_core.clip.positions import Positions
from ovs_core.clip.towers import Block
from ovs_core.modeling.scores import resize, size_of

from .dino import DinoFeatures
from .tower import Dense


@dataclass(frozen=True)
class ProxyRule:
    """How cosines become weights.

    Attributes:
        beta: cosines below this many times their mean over the picture do not count.
        gamma: factor on what is left.
    """

    beta: float = 1.2
    gamma: float = 3.0

    def weights(self, features: Tensor) -> Tensor:
        """Attention of cells with cells.

        Args:
            features: (B, F, I, J) of any length.

        Returns:
            (B, N, N); rows sum to 1. On a picture that is the same everywhere the limit would hide
            every cell, so a cell always sees itself.
        """
        units = F.normalize(features.float().flatten(2), dim=1)
        cosines = units.transpose(1, 2) @ units
        mean = cosines.mean(dim=(1, 2), keepdim=True)
        scores = self.gamma * (cosines - self.beta * mean)
        itself = torch.eye(scores.shape[-1], dtype=torch.bool, device=scores.device)
        return scores.masked_fill((scores < 0) & ~itself, float("-inf")).softmax(dim=-1)


class ProxyTower:
    """CLIP's tower on another network's grid; neither residual nor MLP of the last block is kept.

    Args:
        visual: ViT of a CLIP, not copied.
        network: gives the features.
        rule: makes weights of them.
        positions: how CLIP's position table is fitted.
    """

    def __init__(
        self, visual: nn.Module, network: DinoFeatures, rule: ProxyRule, positions: Positions
    ) -> None:
        self.encoder = ImageEncoder(visual, positions=positions, accepts="any")
        self.network, self.rule = network, rule

    def __call__(self, images: Tensor) -> Dense:
        """Encode (B, 3, H, W) normalised pictures; there is no CLS token."""
        return self.encode(images, self.network(images))

    def encode(self, images: Tensor, features: Tensor) -> Dense:
        """Encode pictures with given features (B, F, I, J)."""
        tokens, grid = self.encoder.embed(images)

        def run(block: Block, tokens: Tensor) -> Tensor:
            values = self.values(block, tokens, grid, size_of(features))
            weights = self.rule.weights(features).to(values.dtype)
            return finish_block(block, None, weights @ values, mlp=False)

        last = self.encoder.num_blocks - 1
        tokens, _ = self.encoder.run_blocks(tokens, grid, blocks={last: run})
        return Dense(self.encoder.project(tokens), size_of(features), has_cls=False)

    @staticmethod
    def values(
        block: Block, tokens: Tensor, grid: tuple[int, int], onto: tuple[int, int]
    ) -> Tensor:
        """Bring the values of the patches (h, w) to the other grid (I, J): (B, N, C)."""
        values = project_values(block, tokens)[:, -grid[0] * grid[1] :]
        maps = values.transpose(1, 2).unflatten(2, grid)
        return resize(maps, onto).flatten(2).transpose(1, 2)
