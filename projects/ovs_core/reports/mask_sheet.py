"""Pictures of the masks that a method proposes, each with its best words.

Letters: Q masks, K classes, H x W picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..draw import INK, PANEL, font_for, sheet
from ..modeling.mask2former import MaskScores

CANDIDATES = 4  # proposals looked through for each one shown
SAME_MASK = 0.8  # IoU


def proposal_sheet(
    image: np.ndarray, scores: MaskScores, names: Sequence[str], *, count: int = 8
) -> np.ndarray:
    """Show the masks that are most surely something, each with its best words.

    A mask that shows the same as a surer one is left out.

    Args:
        image: (H, W, 3) uint8; ``scores`` has the same final size.
        scores: of the picture.
        names: K names.
        count: masks.
    """
    probabilities = scores.class_logits.softmax(-1)[:, :-1]
    order = probabilities.max(-1).values.argsort(descending=True)[: CANDIDATES * count]
    soft = torch.cat([block for _, block in scores.soft_masks(0, order)], dim=1)
    kept = _different(soft > 0.5)[:count]
    cells = []
    for mask, words in zip(soft[kept].cpu().numpy(), probabilities[order[kept]].cpu(), strict=True):
        faded = image * (0.25 + 0.75 * mask[..., None])
        best = words.topk(min(2, len(words)))
        pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        text = ", ".join(f"{names[k]} {value:.2f}" for value, k in pairs)
        cells.append(np.vstack([faded.astype(np.uint8), _line(text, image.shape[1])]))
    half = (len(cells) + 1) // 2
    return sheet([cells[:half], cells[half:]] if len(cells) > half else [cells])


def _different(masks: Tensor) -> list[int]:
    """Of (Q, H, W) masks the indices of those that no earlier one covers alike (IoU above 0.8)."""
    flat = masks.flatten(1).float()
    both, areas = flat @ flat.t(), flat.sum(1)
    ious = both / (areas[:, None] + areas - both).clamp(min=1)
    kept: list[int] = []
    for i in range(len(masks)):
        if not kept or ious[i, kept].max() <= SAME_MASK:
            kept.append(i)
    return kept


def _line(text: str, width: int) -> np.ndarray:
    panel = Image.new("RGB", (width, 20), PANEL)
    ImageDraw.Draw(panel).text((3, 10), text, fill=INK, font=font_for(text, 13), anchor="lm")
    return np.asarray(panel)
