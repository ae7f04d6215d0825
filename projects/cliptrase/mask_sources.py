"""Whose correlation matrix is clustered: CLIP's, DINO's or DINOv2's (Table 5), or the caller's.

Denoising, masks and vote are the same for all. Letters: N = h * w patches, F width of features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional as F

from ovs_core.errors import UserError
from ovs_core.modeling.scores import Size, resize

from .correlation import feature_correlation
from .dino import load_vit
from .tower import Dense


class MaskSource(Protocol):
    """Gives the matrix of a picture."""

    def __call__(self, picture: Tensor, dense: Dense, given: Mapping[str, Any]) -> Tensor:
        """Give a matrix.

        Args:
            picture: (3, H, W) RGB in 0..255, of the size that CLIP sees.
            dense: what CLIP's tower gave, B = 1.
            given: input dict of the picture.

        Returns:
            (1 + N, 1 + N), CLS first.
        """


class TowerSource:
    """CLIP's own correlation, taken on the way through its tower."""

    def __call__(self, picture: Tensor, dense: Dense, given: Mapping[str, Any]) -> Tensor:
        """Give the tower's matrix; see ``MaskSource``."""
        if dense.correlation is None:
            raise ValueError("clusters need a tower that gives a correlation")
        return dense.correlation[0]


class GivenSource:
    """The entry ``correlation`` of the input dict."""

    def __call__(self, picture: Tensor, dense: Dense, given: Mapping[str, Any]) -> Tensor:
        """Give the caller's matrix; see ``MaskSource``.

        Raises:
            UserError: if there is none, or one of another size.
        """
        if "correlation" not in given:
            raise UserError(
                "MODEL.CLIPTRASE.MASK_SOURCE external needs 'correlation' in the input dict"
            )
        return external_matrix(given["correlation"], dense.grid[0] * dense.grid[1])


class DinoSource:
    """Cosine matrix of the last-layer tokens of a DINO ViT.

    Args:
        model: timm ViT with a class token that accepts any picture size.
    """

    def __init__(self, model: VisionTransformer) -> None:
        self.model = model.eval().requires_grad_(False)

    def __call__(self, picture: Tensor, dense: Dense, given: Mapping[str, Any]) -> Tensor:
        """Give DINO's matrix; see ``MaskSource``."""
        return self.matrix(picture, dense.grid)

    @torch.no_grad()
    def matrix(self, picture: Tensor, grid: Size) -> Tensor:
        """Give the matrix of a picture.

        Args:
            picture: (3, H, W) RGB in 0..255, of the size that CLIP sees.
            grid: (h, w) of CLIP's patches.

        Returns:
            (1 + N, 1 + N), CLS first.
        """
        parameter = next(self.model.parameters())
        mean, std = (
            torch.tensor(values, device=parameter.device).view(3, 1, 1)
            for values in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
        )
        image = (picture.to(parameter.device).float() / 255 - mean) / std
        side = self.model.patch_embed.patch_size
        height, width = (max(1, n // p) * p for n, p in zip(image.shape[-2:], side, strict=True))
        image = resize(image, (height, width))
        tokens = self.model.forward_features(image[None])
        prefix = self.model.num_prefix_tokens  # CLS, then register tokens
        own = (height // side[0], width // side[1])
        patches = resize(tokens[:, prefix:].transpose(1, 2).unflatten(2, own), grid)
        joined = torch.cat([tokens[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)
        return feature_correlation(joined)[0]


def load_dino(name: str, weights: str, device: str) -> DinoSource:
    """Load a DINO by timm name and weight file.

    Args:
        name: for example ``vit_base_patch16_224.dino`` or ``vit_base_patch14_dinov2``.
        weights: file with timm's or torch.hub's weights.
        device: where it runs.

    Raises:
        UserError: for an unknown name, a missing file, or weights of another network.
    """
    return DinoSource(load_vit(name, weights, device, group="MODEL.CLIPTRASE.DINO"))


def external_matrix(array: Tensor, count: int) -> Tensor:
    """Turn an array that the caller brings into a correlation matrix.

    Args:
        array: (1 + N, 1 + N) matrix with CLS first; or (N, F) features, whose cosine matrix is
            taken with zeros for CLS, so that denoising removes negative values only.
        count: N.

    Returns:
        (1 + N, 1 + N).

    Raises:
        UserError: if the shape fits neither.
    """
    if tuple(array.shape) == (count + 1, count + 1):
        return array.float()
    if array.dim() == 2 and len(array) == count:
        return F.pad(feature_correlation(array.float()), (1, 0, 1, 0))
    raise UserError(
        f"MASK_SOURCE external: expected ({count + 1}, {count + 1}) with CLS first or ({count}, F) "
        f"for this picture, but got {tuple(array.shape)}"
    )
