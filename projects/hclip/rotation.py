"""Putting POP's blocks on the attention weights of the unmodified open_clip towers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ovs_core.clip import CLIP
from ovs_core.tensor import apply_block_diagonal

from .adaptation import Adaptation, towers
from .once import Once
from .pop import PartialOrthogonal, POPSettings, TowerShape


class RotatedWeight(nn.Module):
    """Parametrization W -> W D (or D W) of one attention weight.

    Args:
        once: keeps the adapted weight while the shared parameters stay as they are.
        finished: gives the blocks of all layers of both towers, which all weights share.
        tower: tower name.
        layer: block of that tower.
        rows: which of the four matrices (query, key, value, output) the weight holds.
        side: ``"right"`` or ``"left"``.
    """

    def __init__(
        self,
        once: Once[Tensor],
        finished: Callable[[], dict[str, Tensor]],
        *,
        tower: str,
        layer: int,
        rows: slice,
        side: str,
    ) -> None:
        super().__init__()
        self._once, self._finished = once, finished
        self._place = (tower, layer, rows)
        self._side = side

    def forward(self, weight: Tensor) -> Tensor:
        """Adapt (k * C, C), k matrices below each other."""
        return self._once(lambda: self._adapt(weight), weight)

    def _adapt(self, weight: Tensor) -> Tensor:
        tower, layer, rows = self._place
        with torch.autocast(weight.device.type, enabled=False):
            blocks = self._finished()[tower][layer, rows].to(weight.dtype)
            matrices = weight.unflatten(0, (len(blocks), -1))
            return apply_block_diagonal(matrices, blocks, side=self._side).flatten(0, 1)


class POPAdaptation(Adaptation):
    """H-CLIP's adaptation of a CLIP: both towers' attention weights, one shared set of parameters.

    Args:
        clip: the CLIP; its attention weights become parametrized.
        settings: switches of POP and DCRC.
    """

    mode = "hclip"

    def __init__(self, clip: CLIP, settings: POPSettings) -> None:
        super().__init__()
        both = towers(clip)
        text, image = (TowerShape(name, t.width, len(t.resblocks)) for name, t in both.items())
        self.pop = PartialOrthogonal(text, image, settings)
        self.pop.to(clip.pixel_mean.device)
        self._once: Once[dict[str, Tensor]] = Once(self.clock, self.pop.parameters())
        for name, tower in both.items():
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
            once: Once[Tensor] = Once(self.clock, self.pop.parameters())
            rotated = RotatedWeight(
                once, self.finished_blocks, tower=tower, layer=layer, rows=rows, side=side
            )
            # unsafe only skips torch's trial call, which would mix the whole tensor each time.
            parametrize.register_parametrization(module, name, rotated, unsafe=True)


class OFT(POPAdaptation):
    """OFT: POP with both towers orthogonal and no communication between layers.

    Args:
        clip: the CLIP; its attention weights become parametrized.
        settings: block size and sides; the other switches are OFT's own.
    """

    mode = "oft"

    def __init__(self, clip: CLIP, settings: POPSettings) -> None:
        super().__init__(clip, replace(settings, orthogonal="both", dcrc=False, pop=True))
