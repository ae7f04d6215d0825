"""Pictures of a training batch: attention, K-means regions, fused masks and labels (Fig. 5-6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ovs_core.draw import heat_overlay, legend, overlay, palette, sheet
from ovs_core.draw.colors import number_colors
from ovs_core.errors import UserError
from ovs_core.modeling.scores import resize, size_of

from .fused_labels import sample_nearest
from .model import CLIPTeacher
from .objective import Material
from .pooling import attention_weights

TITLES = (
    "picture",
    "labels of seen classes",
    "GLM attention",
    "K-means regions",
    "fused masks",
    "labels and pseudo-labels",
)
CELL = 256  # pixels, the least side of a picture on the sheet
UNLABELLED = np.array([0, 0, 0], dtype=np.uint8)
ATTENTION_TOP = 0.98  # quantile from which attention is drawn as the largest
FADED = 0.3  # of a picture's contrast where a column has nothing to say


@torch.no_grad()
def training_sheet(model: CLIPTeacher, samples: Sequence[dict[str, Any]]) -> np.ndarray:
    """Draw what the teacher makes of training samples, one row per sample.

    Args:
        model: with the words of the samples' dataset.
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
    valid = ~sample_nearest(batch.padding, size_of(dense))
    attention = attention_weights(dense, cls, valid=valid)
    text = model.text_features()[model.seen]
    pixels = objective.pixels(Material(dense, cls, tokens, batch.labels, batch.padding, text))
    clusters = objective.potential.cluster(tokens, pixels.token_mask)
    size = size_of(batch.labels)
    attention = resize(attention, size)
    regions = sample_nearest(clusters.assignment.view_as(pixels.groups), size)
    masks = sample_nearest(pixels.groups, size)
    names = [model.vocabulary.names[index] for index in model.seen]
    rows = [
        _row(picture, names, *(maps[index] for maps in maps_of_batch))
        for index, picture in enumerate(batch.pictures)
        for maps_of_batch in [(batch.labels, attention, regions, masks, pixels.labels.full)]
    ]
    return sheet(rows, TITLES)


def _row(
    picture: Tensor,
    names: Sequence[str],
    labels: Tensor,
    attention: Tensor,
    regions: Tensor,
    masks: Tensor,
    fused: Tensor,
) -> list[np.ndarray]:
    """Cells of one sample; all maps are (Y, X), of which the picture is the upper left part."""
    image, given, shares, clusters, groups, both = (
        _enlarged(one[..., : picture.shape[-2], : picture.shape[-1]])
        for one in (picture, labels, attention, regions, masks, fused)
    )
    image = image.round().clip(0, 255).astype(np.uint8)
    colors = palette(names)
    seen = [int(index) for index in np.unique(given) if index >= 0]
    found = np.unique(both[both >= len(names)])
    renumbered = np.where(both < len(names), both, len(names) + np.searchsorted(found, both))
    every = np.vstack([colors, number_colors(len(found))])
    chips = legend([names[index] for index in seen], colors[seen], image.shape[1])
    objects = f"{len(found)} potential object" + ("s" if len(found) != 1 else "")
    potential = legend([objects], every[-1:] if len(found) else UNLABELLED[None], image.shape[1])
    return [
        image,
        np.vstack([_painted(image, given, colors, rest=UNLABELLED), chips]),
        heat_overlay(image, shares.clip(max=np.quantile(shares, ATTENTION_TOP))),
        _painted(image, clusters, number_colors(int(clusters.max()) + 1)),
        _painted(image, groups, number_colors(int(groups.max()) + 1)),
        np.vstack([_painted(image, renumbered, every), potential]),
    ]


def _painted(
    image: np.ndarray, ids: np.ndarray, colors: np.ndarray, *, rest: np.ndarray | None = None
) -> np.ndarray:
    """Overlay where there are ids; elsewhere the picture in pale grey, or one colour."""
    if rest is None:
        grey = image.mean(axis=-1, keepdims=True)
        rest = (255 - FADED * (255 - grey)).astype(np.uint8)
    return np.where((ids < 0)[..., None], rest, overlay(image, ids, colors, strength=0.65))


def _enlarged(maps: Tensor) -> np.ndarray:
    """(H, W) or (3, H, W) -> (H', W') or (H', W', 3), a small one by a whole factor."""
    height, width = size_of(maps)
    factor = max(1, -(-CELL // max(height, width)))
    size = (height * factor, width * factor)
    if maps.ndim == 3:
        return resize(maps.float(), size).permute(1, 2, 0).cpu().numpy()
    if not maps.is_floating_point():
        return sample_nearest(maps, size).cpu().numpy()
    return resize(maps[None], size)[0].cpu().numpy()
