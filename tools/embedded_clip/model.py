"""The CLIP in training: features of pictures and patches, its text tower, its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.transformer import PatchDropout
from torch import Tensor, nn

from ovs_core.clip import CLIP, ImageEncoder, PositionRule, read_weight_file
from ovs_core.clip.conv_encoder import ConvEncoder
from ovs_core.clip.positions import Grid, Positions
from ovs_core.load_report import load_weights

from .dense import patch_features


class PictureEncoder:
    """Encodes pictures and their patches with one run through all blocks but the last.

    Args:
        clip: the CLIP in training.
        paths: last blocks through which a ViT's patches are read, one drawn in each call.
        patch_dropout: share of a ViT's patches left out.
    """

    def __init__(self, clip: CLIP, paths: Sequence[str], patch_dropout: float) -> None:
        is_vit = hasattr(clip.visual, "transformer")
        self.encoder = ImageEncoder(clip.visual) if is_vit else ConvEncoder(clip.visual)
        self.paths = tuple(paths)
        self.dropout = PatchDropout(patch_dropout) if patch_dropout else nn.Identity()

    def __call__(self, pixels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Features of pictures (B, D) and of their patches (B, N, D)."""
        if isinstance(self.encoder, ConvEncoder):
            dense = self.encoder(pixels)["dense"]
            return self.encoder.project(dense.mean((2, 3))), patch_features(self.encoder, dense, "")
        self.encoder.positions = random_positions(rng)
        tokens, _ = self.encoder.embed(pixels)
        self.encoder.positions = PositionRule()
        tokens = self.dropout(tokens)
        blocks = list(self.encoder.visual.transformer.resblocks)
        for block in blocks[:-1]:
            tokens = block(tokens)
        image = self.encoder.project(blocks[-1](tokens)[:, 0])
        path = self.paths[int(rng.integers(len(self.paths)))]
        return image, patch_features(self.encoder, tokens, path)


def random_positions(rng: np.random.Generator) -> Positions:
    """Positions of a window somewhere in a larger picture, half of the time.

    Scenes are segmented at several times the side that pictures of one thing have; a patch shall
    be known wherever it lies on the larger grid.
    """
    factor, shares = 1.0 + 1.8 * float(rng.random()), rng.random(2)
    if rng.random() < 0.5:
        return PositionRule()

    def window(table: Tensor, table_grid: Grid, grid: Grid) -> Tensor:
        rows, columns = (max(n, round(factor * n)) for n in grid)
        wide = PositionRule()(table, table_grid, (rows, columns))
        top, left = (
            round(float(share) * (whole - part))
            for share, whole, part in zip(shares, (rows, columns), grid, strict=True)
        )
        cells = wide[1:].unflatten(0, (rows, columns))
        part = cells[top : top + grid[0], left : left + grid[1]].flatten(0, 1)
        return torch.cat([wide[:1], part])

    return window


def freeze_text_tower(clip: CLIP, weights: Path) -> None:
    """Take the text tower from other weights and keep it out of the training."""
    given, state = read_weight_file(weights).tensors, clip.model.state_dict()
    load_weights(
        clip.model,
        {name: value for name, value in given.items() if not name.startswith("visual.")},
        source=weights,
        owner=f"the text tower of {clip.architecture}",
        mend="give --text-from a CLIP with the same text tower",
        needed={name: value for name, value in state.items() if not name.startswith("visual.")},
    )
    clip.renew_identity(str(weights))
    for name, parameter in clip.model.named_parameters():
        parameter.requires_grad_(name.startswith("visual.") or name == "logit_scale")


def parameter_groups(modules: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trained parameters in two groups: matrices with weight decay, the others without."""
    trained = [p for p in modules.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
