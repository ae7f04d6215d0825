"""Dense features from an unmodified open_clip tower: ConvNeXt (timm) or ModifiedResNet.

Letters: B pictures, H x W pixels, C channels of the last stage, h x w its cells, Q masks, E joint
width.
"""

from __future__ import annotations

from collections.abc import Callable

from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from open_clip.timm_model import TimmModel
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError

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
        self.is_resnet = isinstance(visual, ModifiedResNet)
        if not (self.is_resnet or _is_convnext(visual)):
            raise UserError(
                "this method needs a convolutional image tower, but the CLIP has a "
                f"{_describe(visual)}; set MODEL.CLIP.ARCHITECTURE to a ConvNeXt "
                "(convnext_base_w_320, convnext_large_d_320, embedded-convnext) or a "
                "ResNet (RN50-quickgelu, ...)"
            )
        self.visual = visual

    @property
    def channels(self) -> dict[str, int]:
        """Width of ``res2`` .. ``res5``."""
        if self.is_resnet:
            widths = [stage[-1].bn3.num_features for stage in self._resnet_stages()]
        else:
            widths = [info["num_chs"] for info in self.visual.trunk.feature_info]
        return dict(zip(STAGES, widths, strict=True))

    def trunk_modules(self) -> list[nn.Module]:
        """Give the modules that make the dense features, without the head of the pooled feature."""
        if self.is_resnet:
            return [m for name, m in self.visual.named_children() if name != "attnpool"]
        trunk = self.visual.trunk
        return [trunk.stem, trunk.stages, trunk.norm_pre]

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Encode pictures.

        Args:
            images: (B, 3, H, W) normalised, sides a multiple of 32.

        Returns:
            ``stem`` and ``res2`` .. ``res5`` at strides 4, 8, 16, 32, and ``dense``, the
            un-normalised (B, C, H / 32, W / 32) map that masks are pooled from.
        """
        return self._resnet(images) if self.is_resnet else self._convnext(images)

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
        if self.is_resnet:
            return masked_attention_pool(self.visual.attnpool, dense, masks)
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
        if self.is_resnet:
            raise UserError(
                "a ResNet tower has no projection of single vectors; this method needs a ConvNeXt"
            )
        flat = vectors.reshape(-1, vectors.shape[-1], 1, 1)
        out = self.visual.head(self.visual.trunk.forward_head(flat))
        return out.view(*vectors.shape[:-1], -1)

    def _convnext(self, images: Tensor) -> dict[str, Tensor]:
        trunk = self.visual.trunk
        x = trunk.stem(images)
        features = {"stem": x}
        for name, stage in zip(STAGES, trunk.stages, strict=True):
            x = stage(x)
            features[name] = x
        features["dense"] = trunk.norm_pre(x)
        return features

    def _resnet(self, images: Tensor) -> dict[str, Tensor]:
        visual, x = self.visual, images
        for i in (1, 2, 3):
            norm, act = getattr(visual, f"bn{i}"), getattr(visual, f"act{i}")
            x = act(norm(getattr(visual, f"conv{i}")(x)))
        features = {"stem": x}
        x = visual.avgpool(x)
        for name, stage in zip(STAGES, self._resnet_stages(), strict=True):
            x = stage(x)
            features[name] = x
        features["dense"] = x
        return features

    def _resnet_stages(self) -> list[nn.Module]:
        return [getattr(self.visual, f"layer{i}") for i in (1, 2, 3, 4)]


def masked_attention_pool(pool: AttentionPool2d, dense: Tensor, masks: Tensor) -> Tensor:
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
    keys = tokens + _fit_positions(table[1:], tuple(dense.shape[-2:]))
    q, k, v = (
        linear(x).unflatten(-1, (pool.num_heads, -1)).transpose(1, 2)
        for linear, x in ((pool.q_proj, query), (pool.k_proj, keys), (pool.v_proj, keys))
    )
    seen = (masks.flatten(2) > 0).unsqueeze(1)
    scores = (q @ k.transpose(-1, -2)) * q.shape[
        -1
    ] ** -0.5  # (B, heads, 1, hw), same for all masks
    weights = scores.masked_fill(~seen, float("-inf")).softmax(-1).nan_to_num(0.0)
    return pool.c_proj((weights @ v).transpose(1, 2).flatten(2))


def _fit_positions(grid: Tensor, size: tuple[int, int]) -> Tensor:
    side = int(len(grid) ** 0.5)
    if (side, side) == size:
        return grid
    maps = grid.t().unflatten(1, (side, side))[None]
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)[0].flatten(1).t()


def _is_convnext(visual: nn.Module) -> bool:
    needed = ("stem", "stages", "norm_pre", "forward_head", "feature_info")
    return (
        isinstance(visual, TimmModel)
        and all(hasattr(visual.trunk, name) for name in needed)
        and len(visual.trunk.stages) == len(STAGES)
    )


def _describe(visual: nn.Module) -> str:
    return type(visual.trunk if isinstance(visual, TimmModel) else visual).__name__
