"""Class scores that know how to become a label map without being spread out first.

A K x H x W map of a large vocabulary is hundreds of megabytes; labels need only the running best.
Every ``Scores`` can give any range of classes at the final size, and from that labels or, on
request, the full map. Letters: K classes, h x w score grid, H x W final picture, n windows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from ..tensor.resampling import known_later, resize_linear
from .label_argmax import argmax_upsample

Size = tuple[int, int]
# (map (..., k, h, w), which classes these k are) -> map of the same shape
Activation = Callable[[Tensor, slice], Tensor]
# (window's logits (k, h, w), (H, W), which classes these k are) -> (k, H, W)
Enlargement = Callable[[Tensor, Size, slice], Tensor]

CHUNK_BYTES = 64 * 2**20


class Scores(ABC):
    """Scores of one picture.

    Attributes:
        num_classes: K.
        size: final (H, W).
    """

    num_classes: int
    size: Size

    @abstractmethod
    def classes(self, which: slice) -> Tensor:
        """Give the scores of a range of k classes at the final size: (k, H, W)."""

    def full(self) -> Tensor:
        """Give all scores at the final size: (K, H, W), K * H * W * 4 bytes."""
        return self.classes(slice(0, self.num_classes))

    def labels(self) -> Tensor:
        """Give the best class per pixel: (H, W) int64, lowest index on ties.

        Works through the classes in chunks with a running maximum, so memory does not grow with K.
        """
        height, width = self.size
        step = max(1, CHUNK_BYTES // (4 * height * width))
        best, labels = self.classes(slice(0, min(step, self.num_classes))).max(dim=0)
        for start in range(step, self.num_classes, step):
            which = slice(start, min(start + step, self.num_classes))
            value, index = self.classes(which).max(dim=0)
            better = value > best  # strict: an earlier class keeps a tie
            best = torch.where(better, value, best)
            labels = torch.where(better, index + start, labels)
        return labels


@dataclass
class GridScores(Scores):
    """Scores on one grid that covers the picture, possibly with padding right and below.

    Attributes:
        grid: (K, h, w).
        size: final (H, W).
        canvas: padded input size in pixels that the grid covers; None if there is no padding.
        valid: (height, width) of the picture inside the canvas.
    """

    grid: Tensor
    size: Size
    canvas: Size | None = None
    valid: Size | None = None

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        """K."""
        return len(self.grid)

    def classes(self, which: slice) -> Tensor:
        """Upsample a range of classes; padding is cut at canvas size first."""
        maps = self.grid[which].float()
        if self.canvas is not None and self.valid is not None and self.canvas != self.valid:
            maps = resize(maps, self.canvas)[:, : self.valid[0], : self.valid[1]]
        return resize(maps, self.size)

    def labels(self) -> Tensor:
        """Fused upsampling and argmax."""
        if self.canvas is not None and self.canvas != self.valid:
            return super().labels()
        return argmax_upsample(self.grid, self.size).long()


@dataclass
class WindowScores(Scores):
    """Scores of overlapping windows, averaged where they overlap.

    Attributes:
        windows: (n, K, h, w) logits per window.
        boxes: n x (top, left, height, width) on the canvas.
        canvas: size in pixels that the windows cover together.
        size: final (H, W).
        activation: applied to a window's map after it was brought to the window's size.
        whole: (K, h', w') logits of the whole picture, averaged half and half with the windows; or
            None.
        pad_multiple: windows were shown with zeros on both sides up to a multiple of this, see
            ``margins``.
    """

    windows: Tensor
    boxes: Sequence[tuple[int, int, int, int]]
    canvas: Size
    size: Size
    activation: Activation | None = None
    whole: Tensor | None = None
    whole_size: Size | None = None
    pad_multiple: int = 1

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        """K."""
        return self.windows.shape[1]

    def classes(self, which: slice) -> Tensor:
        """Merge the activated windows of a range of classes and bring them to the final size."""
        return self.merge(which, self._activate)

    def merge(self, which: slice, enlarge: Enlargement) -> Tensor:
        """Average windows where they overlap: (k, H, W) of a range of k classes.

        Args:
            which: range of classes.
            enlarge: makes what is averaged of a window's logits, at the window's size.
        """
        count = which.stop - which.start
        total = self.windows.new_zeros((count, *self.canvas), dtype=torch.float32)
        cover = total.new_zeros(self.canvas)
        for window, (top, left, height, width) in zip(self.windows, self.boxes, strict=True):
            area = (slice(top, top + height), slice(left, left + width))
            total[:, area[0], area[1]] += enlarge(window[which], (height, width), which)
            cover[area] += 1
        merged = total.div_(cover)
        if self.whole is not None:
            whole = enlarge(self.whole[which], self.whole_size or self.canvas, which)
            merged = (merged + resize(whole, self.canvas)) / 2
        return resize(merged, self.size)

    def _activate(self, maps: Tensor, size: Size, which: slice) -> Tensor:
        top, left, shown = margins(size, self.pad_multiple)
        maps = resize(maps.float(), shown)[:, top : top + size[0], left : left + size[1]]
        return maps if self.activation is None else self.activation(maps, which)


@dataclass
class MeanScores(Scores):
    """Mean of several views of one picture (scales, flips).

    Attributes:
        views: scores of the same classes and final size.
        flipped: for each view, whether it must be mirrored back.
    """

    views: Sequence[Scores]
    flipped: Sequence[bool]

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        """K."""
        return self.views[0].num_classes

    @property
    def size(self) -> Size:  # type: ignore[override]
        """Final (H, W)."""
        return self.views[0].size

    def classes(self, which: slice) -> Tensor:
        """Average the views of a range of classes."""
        views = (view.classes(which) for view in self.views)
        turned = (m.flip(-1) if flip else m for m, flip in zip(views, self.flipped, strict=True))
        return reduce(torch.add, turned) / len(self.views)


@dataclass
class LabelScores(Scores):
    """A finished label map, for methods that decide per region; it has no scores to give.

    Attributes:
        label_map: (H, W) integer classes.
        num_classes: K.
    """

    label_map: Tensor
    num_classes: int

    @property
    def size(self) -> Size:  # type: ignore[override]
        """Final (H, W)."""
        return size_of(self.label_map)

    def classes(self, which: slice) -> Tensor:
        """Give the labels as one-hot scores."""
        index = torch.arange(which.start, which.stop, device=self.label_map.device)
        return (self.label_map == index.view(-1, 1, 1)).float()

    def labels(self) -> Tensor:
        """Give the map itself."""
        return self.label_map.long()


def size_of(maps: Tensor) -> Size:
    """(H, W) of maps (..., H, W)."""
    height, width = maps.shape[-2:]
    return height, width


def margins(size: Size, multiple: int) -> tuple[int, int, Size]:
    """Say how a window of (h, w) lies in one whose sides are multiples of a number.

    Returns:
        Rows above and columns left of it, the smaller half of what is missing; and the padded size.
    """
    missing = [-side % multiple for side in size]
    return missing[0] // 2, missing[1] // 2, (size[0] + missing[0], size[1] + missing[1])


def resize(maps: Tensor, size: Size) -> Tensor:
    """Bilinear resize, half-pixel and without antialias as published.

    Args:
        maps: (K, h, w) or (B, K, h, w).
        size: (H, W).

    Returns:
        (K, H, W) or (B, K, H, W).
    """
    if known_later((*size, *size_of(maps))):
        return resize_linear(maps, size)
    if size_of(maps) == tuple(size):
        return maps
    batch = maps if maps.ndim == 4 else maps[None]
    resized = F.interpolate(batch, size=tuple(size), mode="bilinear", align_corners=False)
    return resized if maps.ndim == 4 else resized[0]
