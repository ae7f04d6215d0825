"""Labels at picture size from small score maps, without the (C, H, W) map in between.

The answer is that of ``F.interpolate(scores, size, mode="bilinear").argmax(0)``, bit for bit.
Letters: B pictures, C classes, h x w the score grid, H x W the picture.

Two exact ways are used. *Chunks*: interpolate a few classes at a time and keep a running maximum.
*Candidates* (``label_candidates.py``): find per grid cell the few classes that can win there, look
at those only, and let PyTorch's own interpolation settle what is closer than its rounding error.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from .label_candidates import candidate_labels
from .label_cells import label_dtype

# Interpolated values held at once by the chunked way: 16 Mi floats are 64 MiB.
_CHUNK_VALUES = 16 * 2**20
# PyTorch's vector kernel for small outputs treats channels in blocks and the rest one by one, with
# another rounding. Chunks that begin at a multiple of 16 and a last chunk that keeps the rest round
# like the whole map does.
_CHUNK_STEP = 16


def argmax_upsample(
    logits: Tensor,
    size: tuple[int, int],
    *,
    align_corners: bool = False,
    offset: Tensor | None = None,
    background_from: int | None = None,
) -> Tensor:
    """Resize scores bilinearly and take the best class per pixel, in little memory.

    Args:
        logits: (C, h, w) or (B, C, h, w) scores; half precision is computed in float32.
        size: (H, W) of the result.
        align_corners: as in ``F.interpolate``.
        offset: (C,) added to the scores of each class before the resize, for example ``-0.1`` on
            seen classes.
        background_from: fold every label at or above this number to this number (extra words that
            stand for the background).

    Returns:
        (H, W) or (B, H, W) labels, int16 (int32 from 32768 classes on). Ties go to the lowest index
        and NaN counts as the largest value, as in ``torch.argmax``.
    """
    if logits.dim() not in (3, 4) or not logits.is_floating_point():
        raise ValueError(
            f"scores must be floats of shape (C, h, w) or (B, C, h, w), got {logits.dtype} "
            f"{tuple(logits.shape)}"
        )
    if logits.dim() == 4:
        one = partial(
            argmax_upsample,
            size=size,
            align_corners=align_corners,
            offset=offset,
            background_from=background_from,
        )
        return torch.stack([one(x) for x in logits])
    scores = logits.detach()
    scores = scores if scores.dtype == torch.float64 else scores.float()
    if offset is not None:
        scores = scores + offset.to(scores)[:, None, None]
    scores = scores.contiguous()
    labels = None
    if not torch.compiler.is_compiling():  # a traced program cannot go where the data leads
        labels = candidate_labels(scores, size, align_corners=align_corners)
    if labels is None:
        labels = chunked_labels(scores, size, align_corners=align_corners)
    if background_from is not None:
        labels.clamp_(max=background_from)
    return labels


def chunked_labels(scores: Tensor, size: tuple[int, int], *, align_corners: bool = False) -> Tensor:
    """Best class per pixel with a running maximum over chunks of classes.

    Args:
        scores: (C, h, w) float32 or float64, contiguous.
        size: (H, W) of the result.
        align_corners: as in ``F.interpolate``.

    Returns:
        (H, W) labels.
    """
    dtype = label_dtype(len(scores))

    def best_of(start: int, stop: int) -> tuple[Tensor, Tensor]:
        planes = F.interpolate(
            scores[None, start:stop], size=size, mode="bilinear", align_corners=align_corners
        )[0]
        values, index = planes.max(0)
        return values, index.to(dtype) + start

    (first, stop), *rest = _chunks(len(scores), size[0] * size[1])
    best, labels = best_of(first, stop)
    for start, stop in rest:
        values, index = best_of(start, stop)
        # A later class wins only if strictly larger; a NaN wins once and then stays.
        wins = ~(values <= best) & ~best.isnan()
        labels = torch.where(wins, index, labels)
        best = torch.where(wins, values, best)
    return labels


def _chunks(num_classes: int, pixels: int) -> list[tuple[int, int]]:
    step = max(_CHUNK_STEP, _CHUNK_VALUES // max(pixels, 1) // _CHUNK_STEP * _CHUNK_STEP)
    starts = list(range(0, num_classes, step))
    if len(starts) > 1 and num_classes - starts[-1] < _CHUNK_STEP:
        starts.pop()  # a short rest joins the chunk before it
    return list(zip(starts, [*starts[1:], num_classes], strict=True))
