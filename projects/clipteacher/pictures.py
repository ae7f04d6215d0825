"""Pictures of a training batch: attention, K-means regions, fused masks, fused labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ovs_core.errors import UserError
from ovs_core.visualizer import colorize, overlay, palette, sheet, with_legend

from .fused_labels import sample_nearest
from .glm import attention_weights
from .model import CLIPTeacher

TITLES = (
    "picture",
    "attention (GLM)",
    "K-means regions",
    "fused masks",
    "labels and pseudo-labels",
)


@torch.no_grad()
def training_sheet(model: CLIPTeacher, samples: Sequence[dict[str, Any]]) -> np.ndarray:
    """Draw what the teacher makes of training samples, one row per sample.

    Args:
        model: with the words of the samples' data set.
        samples: as the training mapper gives them.

    Returns:
        (H, W, 3) uint8.

    Raises:
        UserError: if the config leaves the potential objects out.
    """
    objective = model.objective
    if objective.potential is None:
        raise UserError("MODEL.CLIPTEACHER.PLM.ENABLED is False; there are no masks to draw")
    batch = model.batch(samples)
    cls, tokens = model.teacher(batch.images(model.clip.normalize))
    dense = model.student(batch.images(model.student.normalize))
    valid = ~sample_nearest(batch.padding, tuple(dense.shape[-2:]))
    attention = attention_weights(dense, cls, valid=valid)
    text = model.text_features()[model.seen]
    pixels = objective.pixels(dense, cls, tokens, batch.labels, batch.padding, text)
    clusters = objective.potential.cluster(tokens, pixels.token_mask)
    regions = clusters.assignment.view_as(pixels.groups)
    names = [model.vocabulary.names[index] for index in model.seen]
    names += [f"potential {index + 1}" for index in range(int(pixels.labels.kept.sum()))]
    rows = []
    for index, picture in enumerate(batch.pictures):
        image = picture.byte().permute(1, 2, 0).cpu().numpy()
        rows.append(
            [
                image,
                heat(image, attention[index], tuple(batch.labels.shape[-2:])),
                _painted(image, regions[index], batch.labels.shape[-2:]),
                _painted(image, pixels.groups[index], batch.labels.shape[-2:]),
                with_legend(image, _crop(pixels.labels.full[index], image), names),
            ]
        )
    return sheet(rows, TITLES)


def heat(image: np.ndarray, weights: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Lay (h, w) attention over a picture: dark where it is low.

    Args:
        image: (H, W, 3) uint8.
        weights: (h, w), covers ``size`` pixels of which the picture is the upper left part.
        size: padded (Y, X).

    Returns:
        (H, W, 3) uint8.
    """
    maps = torch.nn.functional.interpolate(
        weights[None, None].float(), size=size, mode="bilinear", align_corners=False
    )[0, 0]
    share = _crop(maps / maps.max().clamp(min=1e-12), image)[..., None]
    return (image * (0.25 + 0.75 * share)).round().clip(0, 255).astype(np.uint8)


def _painted(image: np.ndarray, ids: Tensor, size: Sequence[int]) -> np.ndarray:
    spread = _crop(sample_nearest(ids, tuple(size)), image)
    colors = palette([f"region {index}" for index in range(max(int(spread.max()) + 1, 1))])
    drawn = overlay(image, spread, colors)
    return np.where((spread < 0)[..., None], colorize(spread, colors) // 2 + image // 2, drawn)


def _crop(maps: Tensor, image: np.ndarray) -> np.ndarray:
    return maps[: image.shape[0], : image.shape[1]].cpu().numpy()
