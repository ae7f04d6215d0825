"""Pictures of SPT-SEG: seen against unseen classes, the learnt filter, the masks of single classes.

Pictures are (H, W, 3) uint8 RGB arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ovs_core.draw import legend, overlay, palette, sheet
from ovs_core.errors import UserError
from ovs_core.words.label_space import IGNORE

from .model import SPTSeg
from .spectral import SpectralFilter

SIDES = ("seen", "unseen")
SIDE_COLORS = np.array([[70, 120, 190], [245, 140, 30]], dtype=np.uint8)
CELL = 8  # pixels per frequency


def seen_unseen_sheet(
    model: SPTSeg,
    samples: Sequence[Mapping[str, Any]],
    originals: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
) -> np.ndarray:
    """Picture, truth and prediction by class, and both again by side of the split.

    Args:
        model: in eval mode, with words.
        samples: test inputs, one per row.
        originals: pictures at the size of the labels.
        truths: (H, W) class indices, ``IGNORE`` where unlabelled.
    """
    names = model.vocabulary.names
    colors, side = palette(names), np.zeros(len(names) + 1, dtype=np.int64)
    side[list(model.split.unseen)] = 1
    side[-1] = len(SIDES)  # unlabelled
    rows = []
    for sample, image, truth in zip(samples, originals, truths, strict=True):
        predicted = model([dict(sample)])[0]["sem_seg_labels"].cpu().numpy()
        sides = [side[np.where(m == IGNORE, len(names), m)] for m in (truth, predicted)]
        rows.append(
            [image]
            + [overlay(image, m, colors) for m in (truth, predicted)]
            + [overlay(image, m, SIDE_COLORS) for m in sides]
        )
    grid = sheet(rows, ("picture", "truth", "prediction", "truth: seen, unseen", "prediction"))
    keys = [legend(SIDES, SIDE_COLORS, grid.shape[1]), legend(names, colors, grid.shape[1])]
    return np.vstack([grid, *keys])


def filter_sheet(weight: Tensor, *, channels: int = 15, columns: int = 8) -> np.ndarray:
    """Strength of a spectral filter: the mean over channels first, then the strongest channels.

    Rows are vertical frequencies with 0 in the middle, columns horizontal ones from 0 on. Each
    panel is scaled by its own largest value, which its caption gives.

    Args:
        weight: (rows, columns // 2 + 1, C, 2), as ``SpectralFilter.weight``.
        channels: how many single channels are shown.
        columns: panels per row.
    """
    strength = torch.view_as_complex(weight.detach().float().contiguous()).abs()
    strength = torch.fft.fftshift(strength, dim=0).permute(2, 0, 1).cpu().numpy()
    order = np.argsort(-strength.mean(axis=(1, 2)))[:channels]
    panels = [_frequency_panel(strength.mean(axis=0), "mean of all")]
    panels += [_frequency_panel(strength[c], f"channel {c}") for c in order]
    return sheet([panels[i : i + columns] for i in range(0, len(panels), columns)])


@torch.no_grad()
def mask_sheet(
    model: SPTSeg,
    sample: Mapping[str, Any],
    original: np.ndarray,
    *,
    classes: int = 12,
    columns: int = 6,
) -> np.ndarray:
    """Probabilities of the classes that are strongest somewhere in a picture, one panel each.

    Args:
        model: in eval mode, with words.
        sample: test input.
        original: the picture at the size of the result.
        classes: how many are shown.
        columns: panels per row.
    """
    size = original.shape[:2]
    scores = model.segment(sample["image"], size).full()
    scores[list(model.split.seen)] += model.seen_bias  # the probabilities themselves
    order = scores.flatten(1).amax(dim=1).argsort(descending=True)[:classes].tolist()
    names, colors = model.vocabulary.names, palette(model.vocabulary.names)
    panels = []
    for index in order:
        share = scores[index].clamp(0, 1).cpu().numpy()[..., None]
        mixed = original * (1 - share) + colors[index] * share
        word = names[index] + (" (unseen)" if index in model.split.unseen else "")
        caption = legend([word], colors[index : index + 1], size[1])
        panels.append(np.vstack([mixed.round().astype(np.uint8), caption]))
    return sheet([panels[i : i + columns] for i in range(0, len(panels), columns)])


def filters_of(model: SPTSeg) -> list[Tensor]:
    """Weights of a model's spectral filters.

    Raises:
        UserError: if it has none.
    """
    filters: list[Tensor] = [
        m.weight for m in model.encoder.filters if isinstance(m, SpectralFilter)
    ]
    if not filters:
        raise UserError("this model has no spectral filter (MODEL.SPTSEG.SPECTRAL.LAYERS is empty)")
    return filters


def _frequency_panel(strength: np.ndarray, name: str) -> np.ndarray:
    largest = float(strength.max())
    grey = np.round(255 * strength / largest if largest else strength).astype(np.uint8)
    big = np.kron(grey, np.ones((CELL, CELL), dtype=np.uint8))
    width = max(big.shape[1], 150)
    panel = np.full((big.shape[0], width, 3), 250, dtype=np.uint8)
    panel[:, : big.shape[1]] = big[..., None]
    caption = legend([f"{name}, {largest:.3g}"], np.array([[255, 255, 255]]), width)
    return np.vstack([panel, caption])
