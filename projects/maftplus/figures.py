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
from ovs_core.reports.mask_sheet import proposal_sheet

from .mask_segmenter import MaskSegmenter
from .model import MAFTPlus

CELL = 16  # pixels of a row of the matrices


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
    if isinstance(model, MAFTPlus) and model.transfer is not None:
        sheets["transfer"] = transfer_sheet(model, encoded.dense, names)
    return sheets


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
