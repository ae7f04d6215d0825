"""Words that are handed to a program when it runs, and labels of pictures of any size.

Letters: B pictures, K words, D joint width, C maps, h x w their grid, H x W final picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UserError
from ..tensor.resampling import known_later, linear_taps

# A picture is labelled in so many strips: of K x H x W scores, only a strip's are ever there.
STRIPS = 4
_Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class OpenWords:
    """What a model knows of its words while it is written as a program of them.

    Attributes:
        text: (K, D) class embeddings; of a method with several prompts (K, P, D).
        seen: (K,) bool, whether training had the word; None for a method that does not ask.
    """

    text: Tensor
    seen: Tensor | None = None


def _same(maps: Tensor) -> Tensor:
    return maps


def padded_labels(
    maps: Tensor, size: tuple[int, int], canvas: tuple[int, int], valid: tuple[int, int]
) -> Tensor:
    """Label pictures that may have been padded, as ``GridScores`` does.

    Args:
        maps: (B, K, h, w).
        size: (H, W), numbers or symbols.
        canvas: padded picture in pixels.
        valid: (height, width) of the picture inside.

    Returns:
        (B, H, W) int64.

    Raises:
        UserError: for sides that are symbols: maps of a padded picture reach its size in two steps,
            others in one, and a program has to choose.
    """
    if known_later((*canvas, *valid)):
        raise UserError("whether a picture is padded follows from its size")
    if canvas == valid:
        return strip_labels(maps, size)
    return strip_labels(maps, size, canvas=canvas, valid=valid)


def strip_labels(
    maps: Tensor,
    size: tuple[int, int],
    *,
    canvas: tuple[int, int] | None = None,
    valid: tuple[int, int] | None = None,
    between: _Step = _same,
    compare: _Step = _same,
) -> Tensor:
    """Resize maps bilinearly and take the best class per pixel, strip by strip.

    Args:
        maps: (B, C, h, w).
        size: (H, W), numbers or symbols.
        canvas: padded picture in pixels that the grid covers; None if nothing was padded.
        valid: (height, width) of the picture inside, to which maps are cut before they reach H x W.
        between: applied to maps at the size of the picture; only with a canvas.
        compare: (B, C, r, W) maps of r rows -> (B, K, r, W), what is compared.

    Returns:
        (B, H, W) int64, the lowest class on ties.
    """
    (height, width), device = size, maps.device
    columns = torch.arange(width, device=device)
    if canvas is None or valid is None:
        maps = linear_taps(columns, width, maps.shape[3]).of(maps, 3)
    else:
        inside = torch.arange(valid[1], device=device)
        maps = linear_taps(inside, canvas[1], maps.shape[3]).of(maps, 3)

    def strip(rows: Tensor) -> Tensor:
        if canvas is None or valid is None:
            return linear_taps(rows, height, maps.shape[2]).of(maps, 2)
        around = linear_taps(rows, height, valid[0])
        low, high = (
            between(linear_taps(row, canvas[0], maps.shape[2]).of(maps, 2)) for row in around[:2]
        )
        own = torch.lerp(low, high, around.share[:, None])
        return linear_taps(columns, width, valid[1]).of(own, 3)

    step = (height + STRIPS - 1) // STRIPS
    within = torch.arange(step, device=device)
    starts = [(within + number * step).clamp(max=height - 1) for number in range(STRIPS)]
    labels = torch.cat([compare(strip(rows)).argmax(1) for rows in starts], dim=1)
    return labels.index_select(1, torch.arange(height, device=device))
