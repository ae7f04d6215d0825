"""Putting POP's blocks on the attention weights of the unmodified open_clip towers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ovs_core.clip import CLIP
from ovs_core.tensor import apply_block_diagonal

from .adaptation import Adaptation
from .once import Once, StepClock
from .pop import PartialOrthogonal, POPSettings, TowerShape


class RotatedWeight(nn.Module):
    """Parametrization W -> W D (or D W) of one attention weight.

    Args:
        owner: where the blocks come from; not registered here, because all weights share it.
        tower: tower name.
        layer: block of that tower.
        rows: which of the four matrices (query, key, value, output) the weight holds.
        side: ``"right"`` or ``"left"``.
    """

    def __init__(
        self, owner: POPAdaptation, *, tower: str, layer: int, rows: slice, side: str
    ) -> None:
        super().__init__()
        self._owner = (owner,)
        self._place = (tower, layer, rows)
        self._side = side
        self._once = Once(owner.clock, owner.pop.parameters())

    def forward(self, weight: Tensor) -> Tensor:
        """Adapt (k * C, C), k matrices below each other."""
        return self._once(lambda: self._adapt(weight), weight)

    def _adapt(self, weight: Tensor) -> Tensor:
        tower, layer, rows = self._place
        with torch.autocast(weight.device.type, enabled=False):
            blocks = self._owner[0].finished_blocks()[tower][layer, rows].to(weight.dtype)
            matrices = weight.unflatten(0, (len(blocks), -1))
            return apply_block_diagonal(matrices, blocks, side=self._side).flatten(0, 1)


class POPAdaptation(Adaptation):
    """H-CLIP's adaptation of a CLIP: both towers' attention weights, one shared set of parameters.

    Args:
        clip: the CLIP; its attention weights become parametrized.
        settings: switches of POP and DCRC.
        clock: the model's clock.
    """

    def __init__(self, clip: CLIP, settings: POPSettings, clock: StepClock) -> None:
        super().__init__()
        towers = {"text": clip.model.transformer, "image": clip.visual.transformer}
        self.clock = clock
        self.pop = PartialOrthogonal(
            *(TowerShape(name, t.width, len(t.resblocks)) for name, t in towers.items()), settings
        )
        self.pop.to(clip.pixel_mean.device)
        self._once = Once(clock, self.pop.parameters())
        for name, tower in towers.items():
            for layer, block in enumerate(tower.resblocks):
                self._parametrize(block.attn, name, layer)

    def finished_blocks(self) -> dict[str, Tensor]:
        """Blocks of all layers of both towers, see ``PartialOrthogonal.forward``."""
        return self._once(self.pop)

    def _parametrize(self, attention: nn.MultiheadAttention, tower: str, layer: int) -> None:
        settings = self.pop.settings
        targets = (
            (attention, "in_proj_weight", slice(0, 3), settings.qkv_side),
            (attention.out_proj, "weight", slice(3, 4), settings.out_side),
        )
        for module, name, rows, side in targets:
            rotated = RotatedWeight(self, tower=tower, layer=layer, rows=rows, side=side)
            # unsafe only skips torch's trial call, which would mix the whole tensor once per
            # weight.
            parametrize.register_parametrization(module, name, rotated, unsafe=True)
