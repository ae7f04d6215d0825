"""How a picture is shown to a network at test time: whole, in windows, at several scales.

One implementation serves all methods. A method offers ``encode`` (windows -> features, no words)
and ``score`` (features -> logits per class); the protocol decides what the windows are and how
their maps are put together. Letters: B windows, K classes, h x w score grid, H x W final picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UserError
from ..tensor.resampling import known_later
from .open_words import padded_labels, strip_labels
from .picture_batches import encode_by_shape
from .scores import (
    GridScores,
    MeanScores,
    Scores,
    Size,
    WindowScores,
    margins,
    resize,
    size_of,
)

Box = tuple[int, int, int, int]


class DenseModel(Protocol):
    """What a protocol needs of a method."""

    def encode(self, images: Tensor) -> Any:
        """(B, 3, h, w) normalised windows -> features that do not depend on the words."""

    def score(self, features: Any) -> Tensor:
        """Features -> (B, K, h', w') logits for the current words."""

    def activate(self, maps: Tensor, which: slice) -> Tensor:
        """Turn logits (..., k, h, w) of classes ``which`` into what is averaged and compared."""

    def finish_windows(self, windows: WindowScores) -> Scores:
        """Make the scores of a picture of its window logits; as they are, or by a cheaper way."""


class InferenceProtocol(Protocol):
    """Splits the work into a part that depends on the picture and one that depends on the words."""

    def encode(self, model: DenseModel, picture: Tensor) -> Any:
        """(3, H', W') normalised picture -> everything that can be reused for other words."""

    def encode_all(self, model: DenseModel, pictures: Sequence[Tensor]) -> list[Any]:
        """``encode`` of several pictures; those that are shown at one size in one batch."""

    def score(self, model: DenseModel, encoded: Any, size: Size) -> Scores:
        """Result of ``encode`` -> scores at the final size (H, W)."""

    def open_labels(self, model: DenseModel, pictures: Tensor, size: Size) -> Tensor:
        """(B, 3, H', W') normalised pictures of one size -> (B, H, W) labels, see ``Segmenter``."""


@dataclass(frozen=True)
class Whole:
    """The whole picture at once.

    Attributes:
        size: fixed (h, w) to which the picture is brought, aspect lost; None keeps its size.
        divisor: the picture is padded right and below with zeros to a multiple of this.
        cut_padding: whether scores of the padding are cut off before the final resize. Released
            CAT-Seg does not, which stretches its maps a little; it cuts the score grid to the
            picture's number of pixels instead, which tells in pictures smaller than the grid.
    """

    size: Size | None = None
    divisor: int = 1
    cut_padding: bool = True

    def encode(self, model: DenseModel, picture: Tensor) -> Any:
        """Pad or squash, then encode."""
        shown, canvas, valid = self._show(picture)
        return model.encode(shown[None]), canvas, valid

    def encode_all(self, model: DenseModel, pictures: Sequence[Tensor]) -> list[Any]:
        """Pad or squash each for itself, then encode those of one size together."""
        shown = [self._show(picture) for picture in pictures]
        features = encode_by_shape(model.encode, [one[0] for one in shown])
        return [(own, *sizes) for own, (_, *sizes) in zip(features, shown, strict=True)]

    def _show(self, picture: Tensor) -> tuple[Tensor, Size, Size]:
        padded, valid = _pad(picture, self.divisor)
        canvas = size_of(padded)
        return padded if self.size is None else resize(padded, self.size), canvas, valid

    def score(self, model: DenseModel, encoded: Any, size: Size) -> Scores:
        """Activate on the grid, then let the scores be resized."""
        features, canvas, valid = encoded
        logits = model.score(features)[0]
        grid = model.activate(logits, slice(0, len(logits)))
        if not self.cut_padding:
            grid = grid[:, : valid[0], : valid[1]]
            canvas = valid = None
        return GridScores(grid, size, canvas=canvas, valid=valid)

    def open_labels(self, model: DenseModel, pictures: Tensor, size: Size) -> Tensor:
        """Pad or squash, encode and score all together.

        Raises:
            UserError: for maps that are cut to as many cells as the picture has pixels, and for a
                padding that follows from a size that is not known yet.
        """
        if not self.cut_padding:
            raise UserError("MODEL.OVS.PROTOCOL.CUT_PADDING False cannot be exported so")
        shown, canvas, valid = self._show(pictures)
        grid = model.activate(model.score(model.encode(shown)), slice(None))
        if self.divisor == 1:
            return strip_labels(grid, size)
        return padded_labels(grid, size, canvas, valid)


@dataclass(frozen=True)
class Slide:
    """Overlapping windows; the last row and column of windows is shifted back to the border.

    Attributes:
        window: side of a window in pixels.
        stride: step between windows.
        canvas: fixed (h, w) to which the picture is brought first; None keeps its size.
        with_whole: also look at the whole picture, squashed to one window, and average both
            (CAT-Seg).
        batch: windows per forward.
        pad_small: pad a picture smaller than a window with zeros; else the window shrinks to the
            picture.
        pad_multiple: every window is padded with zeros on both sides to a multiple of this, and its
            scores are cut again; 1 pads nothing.
    """

    window: int
    stride: int
    canvas: Size | None = None
    with_whole: bool = False
    batch: int = 8
    pad_small: bool = True
    pad_multiple: int = 1

    def __post_init__(self) -> None:
        """Refuse windows that would leave gaps."""
        if not 0 < self.stride <= self.window:
            raise UserError(
                f"sliding windows of {self.window} with stride {self.stride} leave pixels "
                "uncovered; "
                "the stride must lie in 1..window"
            )

    def encode(self, model: DenseModel, picture: Tensor) -> Any:
        """Cut the windows and encode them in batches."""
        whole = resize(picture, (self.window, self.window)) if self.with_whole else None
        if self.canvas is not None:
            picture = resize(picture, self.canvas)
        original = size_of(picture)
        padded = _pad_to(picture, self.window) if self.pad_small else picture
        boxes = self.boxes(size_of(padded))
        windows = [self._framed(padded[:, t : t + h, le : le + w]) for t, le, h, w in boxes]
        if whole is not None:
            windows.append(whole)
        batches = [
            torch.stack(windows[i : i + self.batch]) for i in range(0, len(windows), self.batch)
        ]
        features = [model.encode(batch) for batch in batches]
        return features, boxes, size_of(padded), original

    def encode_all(self, model: DenseModel, pictures: Sequence[Tensor]) -> list[Any]:
        """Encode one after the other: the windows of each are a batch already."""
        return [self.encode(model, picture) for picture in pictures]

    def score(self, model: DenseModel, encoded: Any, size: Size) -> Scores:
        """Score the windows; they are merged when labels or maps are asked for."""
        features, boxes, canvas, original = encoded
        logits = torch.cat([model.score(f) for f in features])
        whole = logits[-1] if self.with_whole else None
        windows = logits[:-1] if self.with_whole else logits
        padded = canvas != original
        scores = model.finish_windows(
            WindowScores(
                windows,
                boxes,
                canvas,
                canvas if padded else size,
                model.activate,
                whole,
                (self.window, self.window),
                self.pad_multiple,
            )
        )
        return _Cut(scores, original, size) if padded else scores

    def open_labels(self, model: DenseModel, pictures: Tensor, size: Size) -> Tensor:
        """Merge the windows of all pictures, one window of every picture after the other.

        Raises:
            UserError: if the windows follow from a size that is not known yet.
        """
        whole = resize(pictures, (self.window, self.window)) if self.with_whole else None
        if self.canvas is not None:
            pictures = resize(pictures, self.canvas)
        original = size_of(pictures)
        if known_later(original):
            raise UserError("windows follow from the size of the picture")
        padded = _pad_to(pictures, self.window) if self.pad_small else pictures
        merged = self._open_merged(model, padded)
        if whole is not None:
            maps = resize(model.score(model.encode(whole)).float(), (self.window, self.window))
            maps = model.activate(maps, slice(None))
            merged = (merged + resize(maps, size_of(padded))) / 2
        return strip_labels(merged[..., : original[0], : original[1]], size)

    def _open_merged(self, model: DenseModel, padded: Tensor) -> Tensor:
        """Mean of the activated windows: (B, K, H', W')."""
        boxes, cover = self.boxes(size_of(padded)), padded.new_zeros(size_of(padded))
        total: Tensor | None = None
        for top, left, height, width in boxes:
            window = self._framed(padded[..., top : top + height, left : left + width])
            above, before, shown = margins((height, width), self.pad_multiple)
            maps = resize(model.score(model.encode(window)).float(), shown)
            maps = maps[..., above : above + height, before : before + width]
            below = padded.shape[-2] - top - height, padded.shape[-1] - left - width
            placed = F.pad(model.activate(maps, slice(None)), (left, below[1], top, below[0]))
            total = placed if total is None else total + placed
            cover[top : top + height, left : left + width] += 1
        assert total is not None
        return total / cover

    def _framed(self, window: Tensor) -> Tensor:
        top, left, (rows, columns) = margins(size_of(window), self.pad_multiple)
        height, width = size_of(window)
        return F.pad(window, (left, columns - width - left, top, rows - height - top))

    def boxes(self, size: Size) -> list[Box]:
        """Windows (top, left, height, width) that cover a picture of this size, row by row."""
        rows, columns = (_starts(side, self.window, self.stride) for side in size)
        height, width = min(self.window, size[0]), min(self.window, size[1])
        return [(top, left, height, width) for top in rows for left in columns]


@dataclass(frozen=True)
class MultiScaleFlip:
    """Mean over several scales, with and without mirroring.

    Attributes:
        base: protocol that each view goes through.
        scales: factors on the picture's sides.
        flip: whether every scale is also seen mirrored.
    """

    base: Whole | Slide
    scales: Sequence[float] = (1.0,)
    flip: bool = True

    def encode(self, model: DenseModel, picture: Tensor) -> Any:
        """Encode every view."""
        return [
            (self.base.encode(model, self._view(picture, scale, mirrored)), mirrored)
            for scale, mirrored in self._views()
        ]

    def encode_all(self, model: DenseModel, pictures: Sequence[Tensor]) -> list[Any]:
        """Encode each view of all pictures."""
        views = []
        for scale, mirrored in self._views():
            shown = [self._view(picture, scale, mirrored) for picture in pictures]
            encoded = self.base.encode_all(model, shown)
            views.append([(one, mirrored) for one in encoded])
        return [list(own) for own in zip(*views, strict=True)]

    def _views(self) -> list[tuple[float, bool]]:
        return [(s, mirrored) for s in self.scales for mirrored in (False, True)[: 1 + self.flip]]

    def _view(self, picture: Tensor, scale: float, mirrored: bool) -> Tensor:
        height, width = (max(1, round(side * scale)) for side in picture.shape[-2:])
        scaled = resize(picture, (height, width))
        return scaled.flip(-1) if mirrored else scaled

    def score(self, model: DenseModel, encoded: Any, size: Size) -> Scores:
        """Score every view; they are averaged at the final size."""
        scores = [self.base.score(model, view, size) for view, _ in encoded]
        return MeanScores(scores, [mirrored for _, mirrored in encoded])

    def open_labels(self, model: DenseModel, pictures: Tensor, size: Size) -> Tensor:
        """Refuse.

        Raises:
            UserError: always.
        """
        raise UserError("several scales and flips of a picture cannot be exported so")


@dataclass
class _Cut(Scores):
    """Scores of a padded picture, cut back to the picture before the final resize."""

    padded: Scores
    valid: Size
    size: Size

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        """K."""
        return self.padded.num_classes

    def classes(self, which: slice) -> Tensor:
        maps = self.padded.classes(which)[:, : self.valid[0], : self.valid[1]]
        return GridScores(maps, self.size).full()


def _starts(side: int, window: int, stride: int) -> list[int]:
    count = max(side - window + stride - 1, 0) // stride + 1
    return [max(min(i * stride + window, side) - window, 0) for i in range(count)]


def _pad(picture: Tensor, divisor: int) -> tuple[Tensor, Size]:
    height, width = picture.shape[-2:]
    right, below = -width % divisor, -height % divisor
    return F.pad(picture, (0, right, 0, below)), (height, width)


def _pad_to(picture: Tensor, window: int) -> Tensor:
    height, width = picture.shape[-2:]
    return F.pad(picture, (0, max(window - width, 0), 0, max(window - height, 0)))
