"""Other networks than CLIP that look at the same picture: DINO and DINOv2, through timm.

Letters: B pictures, C width, I x J their grid of patches.
"""

from __future__ import annotations

import timm
import torch
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor
from torch.nn import functional as F

from ovs_core.clip import CLIP, PositionRule, read_weight_file
from ovs_core.clip.fetching import timm_weights
from ovs_core.errors import UserError, check_choice, nearest
from ovs_core.load_report import load_weights
from ovs_core.modeling.pixel_statistics import PixelStatistics
from ovs_core.modeling.scores import resize, size_of

RANDOM, FETCH = "random", "timm"
# DINO and DINOv2 without registers resize their table with 0.1 added, those with registers by size.
POSITIONS = {
    "dino": PositionRule(offset=0.1),
    "size_antialias": PositionRule(antialias=True),
}


def load_vit(name: str, weights: str, device: str, *, group: str) -> VisionTransformer:
    """Load a ViT by timm's name.

    Args:
        name: for example ``vit_base_patch8_224.dino`` or ``vit_base_patch14_reg4_dinov2``.
        weights: file with timm's or torch.hub's weights; ``timm`` lets timm fetch those of the
            name; ``random`` draws them, always the same.
        device: where it runs.
        group: of the config keys ``MODEL`` and ``WEIGHTS`` that stated them, for messages.

    Raises:
        UserError: for an unknown name, a missing file, weights of another network, or a network
            that is no plain ViT with a class token.
    """
    known = timm.list_models("*vit*", pretrained=True) + timm.list_models("*vit*")
    if name not in known:
        raise UserError(f"{group}.MODEL: timm has no ViT '{name}'.{nearest(name, known)}")
    if not weights:
        raise UserError(
            f"{group}.WEIGHTS is empty; give the path of downloaded weights of {name}, or "
            f"'{FETCH}' to let timm fetch them"
        )
    if weights == FETCH and (here := timm_weights(name, f"{group}.WEIGHTS")) is not None:
        weights = str(here)
    tensors = None if weights in (RANDOM, FETCH) else read_weight_file(weights).tensors
    model = _create(name, weights, group)
    if not isinstance(model, VisionTransformer) or model.cls_token is None:
        raise UserError(f"{group}.MODEL: {name} is no plain ViT with a class token")
    if tensors is not None:
        load_weights(
            model,
            checkpoint_filter_fn(tensors, model),
            source=weights,
            owner=f"the ViT {name}",
            mend=f"set {group}.MODEL to that of the weights",
            enough=1.0,
        )
    return model.to(device).eval().requires_grad_(False)


class DinoFeatures:
    """Patch tokens of a ViT for pictures that CLIP is shown; a view, no module.

    Args:
        model: timm ViT with a class token that accepts any picture size.
        clip: in whose normalisation the pictures come.
        positions: a name of ``POSITIONS``, or ``auto`` for what the model was released with.
    """

    def __init__(self, model: VisionTransformer, clip: CLIP, positions: str = "auto") -> None:
        check_choice("MODEL.CLIPTRASE.PROXYCLIP.POSITIONS", positions, ("auto", *POSITIONS))
        by_size = model.reg_token is not None
        released = "size_antialias" if by_size else "dino"
        self.model = model
        self.positions = POSITIONS[released if positions == "auto" else positions]
        self.mean, self.std = clip.pixel_mean, clip.pixel_std
        self.statistics = PixelStatistics().to(clip.pixel_mean.device)

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in CLIP's normalisation -> (B, C, I, J) tokens after the final norm."""
        model = self.model
        patches = model.patch_embed(self.image(images))
        grid = (patches.shape[1], patches.shape[2])
        tokens = model.norm(model.blocks(model.norm_pre(self._embed(patches, grid))))
        return tokens[:, model.num_prefix_tokens :].transpose(1, 2).unflatten(2, grid)

    def image(self, images: Tensor) -> Tensor:
        """Bring pictures from CLIP's statistics to ImageNet's.

        A side that is no multiple of the patch is stretched or shrunk to the nearest one.
        """
        picture = self.statistics(images.float() * self.std + self.mean)
        sides = zip(size_of(picture), self.model.patch_embed.patch_size, strict=True)
        height, width = (max(1, round(side / patch)) * patch for side, patch in sides)
        return resize(picture, (height, width))

    def _embed(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, I, J, C) patches -> (B, 1 + R + I * J, C) tokens; R registers have no position."""
        model = self.model
        table = model.pos_embed[0]
        if model.no_embed_class:
            table = F.pad(table, (0, 0, 1, 0))
        table = self.positions(table, model.patch_embed.grid_size, grid)
        prefix = [model.cls_token + table[:1]]
        if model.reg_token is not None:
            prefix.append(model.reg_token)
        prefix = [one.expand(len(patches), -1, -1) for one in prefix]
        return torch.cat([*prefix, patches.flatten(1, 2) + table[1:]], dim=1)


def _create(name: str, weights: str, group: str) -> torch.nn.Module:
    options = {"num_classes": 0, "dynamic_img_size": True}
    if weights != FETCH:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return timm.create_model(name, pretrained=False, **options)
    try:
        return timm.create_model(name, pretrained=True, **options)
    except (OSError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"{group}.WEIGHTS {FETCH}: the weights of {name} could not be fetched ({reason}); "
            "give the path of a downloaded file"
        ) from error
