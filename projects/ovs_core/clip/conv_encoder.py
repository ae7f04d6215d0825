"""Dense features from an unmodified open_clip tower: ConvNeXt (timm) or ModifiedResNet.

Letters: B pictures, H x W pixels, C channels of the last stage, h x w its cells, Q masks, E joint
width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError
from .towers import AttentionPool, ConvNeXtTower, ResNetTower

STAGES = ("res2", "res3", "res4", "res5")
STRIDES = dict(zip(STAGES, (4, 8, 16, 32), strict=True))
# (B, C, h, w) features, (B, Q, h, w) masks -> (B, Q, C)
Pooling = Callable[[Tensor, Tensor], Tensor]


class ConvEncoder:
    """Run a convolutional image tower on pictures of any size and keep every stage.

    A view of the tower and no module, as ``ImageEncoder`` is.

    Args:
        visual: image tower of an open_clip model, not copied.

    Raises:
        UserError: if the tower is neither a timm ConvNeXt nor a ModifiedResNet.
    """

    def __init__(self, visual: nn.Module) -> None:
        self._resnet: ResNetTower | None = visual if isinstance(visual, ModifiedResNet) else None
        self._convnext = _convnext_tower(visual)
        if self._resnet is None and self._convnext is None:
            raise UserError(
                "this method needs a convolutional image tower, but the CLIP has a "
                f"{_describe(visual)}; set MODEL.CLIP.ARCHITECTURE to a ConvNeXt "
                "(convnext_base_w_320, convnext_large_d_320, embedded-convnext) or a "
                "ResNet (RN50-quickgelu, ...)"
            )
        self.visual = visual

    @property
    def is_resnet(self) -> bool:
        """Whether the tower is a ResNet, which pools by attention, and not a ConvNeXt."""
        return self._resnet is not None

    @property
    def channels(self) -> dict[str, int]:
        """Width of ``res2`` .. ``res5``."""
        if self._resnet is not None:
            last = [stage[-1].get_parameter("bn3.weight") for stage in _stages(self._resnet)]
            widths = [len(scale) for scale in last]
        else:
            widths = [info["num_chs"] for info in self._needed_convnext().trunk.feature_info]
        return dict(zip(STAGES, widths, strict=True))

    def trunk_modules(self) -> list[nn.Module]:
        """Give the modules that make the dense features, without the head of the pooled feature."""
        if self._resnet is not None:
            return [m for name, m in self.visual.named_children() if name != "attnpool"]
        trunk = self._needed_convnext().trunk
        return [trunk.stem, trunk.stages, trunk.norm_pre]

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Encode pictures.

        Args:
            images: (B, 3, H, W) normalised, sides a multiple of 32.

        Returns:
            ``stem`` and ``res2`` .. ``res5`` at strides 4, 8, 16, 32, and ``dense``, the
            un-normalised (B, C, H / 32, W / 32) map that masks are pooled from.
        """
        if self._resnet is not None:
            return _resnet_features(self._resnet, images)
        return _convnext_features(self._needed_convnext(), images)

    def embed_masks(self, dense: Tensor, masks: Tensor, pool: Pooling) -> Tensor:
        """Embed masks in the joint space.

        Args:
            dense: (B, C, h, w) of ``__call__``.
            masks: (B, Q, h, w) mask logits at that size.
            pool: averages features inside masks; used by ConvNeXt towers. A ResNet tower pools with
                its own attention, which sees the cells of the mask only.

        Returns:
            (B, Q, E), not normalised.
        """
        if self._resnet is not None:
            return masked_attention_pool(self._resnet.attnpool, dense, masks)
        return self.project(pool(dense, masks))

    def project(self, vectors: Tensor) -> Tensor:
        """Bring pooled vectors to the joint space: trunk head (LayerNorm), then projection.

        Args:
            vectors: (..., C).

        Returns:
            (..., E), not normalised.

        Raises:
            UserError: for a ResNet tower, which has attention pooling instead.
        """
        tower = self._needed_convnext()
        flat = vectors.reshape(-1, vectors.shape[-1], 1, 1)
        out = tower.head(tower.trunk.forward_head(flat))
        return out.view(*vectors.shape[:-1], -1)

    def _needed_convnext(self) -> ConvNeXtTower:
        if self._convnext is None:
            raise UserError(
                "a ResNet tower has no projection of single vectors; this method needs a ConvNeXt; "
                "set MODEL.CLIP.ARCHITECTURE (convnext_base_w_320, embedded-convnext, ...)"
            )
        return self._convnext


def _convnext_features(tower: ConvNeXtTower, images: Tensor) -> dict[str, Tensor]:
    trunk = tower.trunk
    stem = trunk.stem(images)
    maps = _stage_outputs(stem, trunk.stages)
    return {"stem": stem, **maps, "dense": trunk.norm_pre(maps["res5"])}


def _resnet_features(tower: ResNetTower, images: Tensor) -> dict[str, Tensor]:
    x = images
    for i in (1, 2, 3):
        norm, act = getattr(tower, f"bn{i}"), getattr(tower, f"act{i}")
        x = act(norm(getattr(tower, f"conv{i}")(x)))
    maps = _stage_outputs(tower.avgpool(x), _stages(tower))
    return {"stem": x, **maps, "dense": maps["res5"]}


def _stages(tower: ResNetTower) -> list[nn.Sequential]:
    return [tower.layer1, tower.layer2, tower.layer3, tower.layer4]


def _stage_outputs(x: Tensor, stages: Iterable[nn.Module]) -> dict[str, Tensor]:
    found = {}
    for name, stage in zip(STAGES, stages, strict=True):
        x = stage(x)
        found[name] = x
    return found


def masked_attention_pool(pool: AttentionPool, dense: Tensor, masks: Tensor) -> Tensor:
    """Pool with CLIP's attention, each mask seeing its own cells only.

    The query is the same for all masks (mean of the map plus the class position); a mask without a
    cell attends to nothing and gives the bias of the output projection.

    Args:
        pool: the tower's attention pooling.
        dense: (B, C, h, w).
        masks: (B, Q, h, w) logits; cells above 0 are seen.

    Returns:
        (B, Q, E).
    """
    tokens = dense.flatten(2).transpose(1, 2)
    table = pool.positional_embedding
    query = tokens.mean(dim=1, keepdim=True) + table[0]
    keys = tokens + _fit_positions(table[1:], (dense.shape[-2], dense.shape[-1]))
    q, k, v = (
        torch.unflatten(linear(x), -1, (pool.num_heads, -1)).transpose(1, 2)
        for linear, x in ((pool.q_proj, query), (pool.k_proj, keys), (pool.v_proj, keys))
    )
    seen = (masks.flatten(2) > 0).unsqueeze(1)
    # (B, heads, 1, hw), the same for all masks
    scores = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
    weights = scores.masked_fill(~seen, float("-inf")).softmax(-1).nan_to_num(0.0)
    return pool.c_proj((weights @ v).transpose(1, 2).flatten(2))


def _fit_positions(grid: Tensor, size: tuple[int, int]) -> Tensor:
    side = int(len(grid) ** 0.5)
    if (side, side) == size:
        return grid
    maps = torch.unflatten(grid.t(), 1, (side, side))[None]
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)[0].flatten(1).t()


def _convnext_tower(visual: nn.Module) -> ConvNeXtTower | None:
    needed = ("stem", "stages", "norm_pre", "forward_head", "feature_info")
    if not isinstance(visual, TimmModel):
        return None
    has_parts = all(hasattr(visual.trunk, name) for name in needed)
    tower: ConvNeXtTower = visual
    return tower if has_parts and len(tower.trunk.stages) == len(STAGES) else None


def _describe(visual: nn.Module) -> str:
    return type(visual.trunk if isinstance(visual, TimmModel) else visual).__name__
