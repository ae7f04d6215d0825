"""Pictures of FC-CLIP and MAFT+: panoptic overlays, mask proposals, what the transfer changed.

Letters: Q masks, K classes, H x W picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

from ovs_core.draw import INK, PANEL, font_for, render, sheet
from ovs_core.modeling.mask2former import MaskScores

from .mask_segmenter import MaskSegmenter
from .model import MAFTPlus

CELL = 16  # pixels of a row of the matrices
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


def transfer_sheet(
    model: MAFTPlus, dense: Tensor, names: Sequence[str], *, count: int = 20
) -> np.ndarray:
    """Show how the transfer moves the words of a picture towards or away from each other.

    Left the cosines of the text rows (first text of each class), middle those after the transfer,
    right the difference. What all classes share is taken off first: it changes no decision, and it
    is most of what the transfer adds. The classes whose rows turned most are shown.

    Args:
        model: with the words set.
        dense: (1, C, h, w) trunk features of the picture.
        names: K names.
        count: classes.
    """
    rows, index = model.rows()
    first = [index.index(k) for k in range(len(names))]
    before, after = (
        F.normalize(x[first] - x[first].mean(dim=0), dim=-1)
        for x in (rows, model.transferred_rows(dense, rows)[0])
    )
    turned = (before * after).sum(-1)
    chosen = turned.topk(min(count, len(names)), largest=False).indices.sort().values
    pairs = [(x[chosen] @ x[chosen].t()).cpu().numpy() for x in (before, after)]
    words = [f"{names[k]} ({turned[k]:.2f})" for k in chosen.tolist()]
    maps = [_heat(pairs[0], words), _heat(pairs[1], words), _heat(pairs[1] - pairs[0], words)]
    return sheet([maps], ["text rows (cosine to itself after)", "after the transfer", "difference"])


@torch.no_grad()
def picture_sheets(
    model: MaskSegmenter, picture: Tensor, image: np.ndarray
) -> dict[str, np.ndarray]:
    """Make all pictures of one input.

    Args:
        model: in evaluation mode, with the words set.
        picture: (3, h, w) as the mapper gives it.
        image: (H, W, 3) original.

    Returns:
        ``panoptic``, ``proposals`` and, for MAFT+, ``transfer``.
    """
    names = model.vocabulary.names
    encoded = model.encode_picture(picture)
    scores = model.score_picture(encoded, image.shape[:2])
    segments, info = model.panoptic(scores)
    ids = segments.cpu().numpy()
    sheets = {
        "panoptic": render(image, ids, names, segment_ids=ids, segments_info=info),
        "proposals": proposal_sheet(image, scores, names),
    }
    if isinstance(model, MAFTPlus):
        sheets["transfer"] = transfer_sheet(model, encoded.dense, names)
    return sheets


def _line(text: str, width: int) -> np.ndarray:
    panel = Image.new("RGB", (width, 20), PANEL)
    ImageDraw.Draw(panel).text((3, 10), text, fill=INK, font=font_for(text, 13), anchor="lm")
    return np.asarray(panel)


def _heat(values: np.ndarray, words: Sequence[str]) -> np.ndarray:
    """Draw a square matrix from blue (-1) over white to red (1), with row names on the left."""
    strength = np.clip(np.abs(values), 0, 1)[..., None]
    target = np.where(values[..., None] > 0, (200, 40, 40), (40, 70, 200))
    colors = (255 + (target - 255) * strength).astype(np.uint8)
    cells = colors.repeat(CELL, 0).repeat(CELL, 1)
    margin = Image.new("RGB", (150, len(cells)), PANEL)
    draw = ImageDraw.Draw(margin)
    for row, word in enumerate(words):
        place = (3, row * CELL + CELL // 2)
        draw.text(place, word, fill=INK, font=font_for(word, 12), anchor="lm")
    return np.hstack([np.asarray(margin), cells])
