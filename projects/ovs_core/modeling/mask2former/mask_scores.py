"""From scored masks to label maps, panoptic maps and instances, in blocks of rows.

Neither Q masks nor K class maps are ever held at full size: a block of rows is upsampled, used and
dropped. Letters: Q masks, K classes, h x w mask grid, Hp x Wp padded input, H x W final picture, r
rows of a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from detectron2.structures import Boxes, Instances
from torch import Tensor
from torch.nn import functional as F

from ...tensor.placing import place
from ..scores import CHUNK_BYTES, Scores, Size
from .mask_candidates import best_classes, best_column

TILE = (32, 128)  # pixels that are labelled at once
MANY_CLASSES = 128  # from which on it pays to look for those that can win among them

SegmentsInfo = list[dict[str, int | bool]]


@dataclass
class MaskScores(Scores):
    """Scored masks of one picture.

    Attributes:
        class_logits: (Q, K + 1) logits or log-probabilities, void last.
        masks: (Q, h, w) mask logits on the padded input.
        canvas: padded (Hp, Wp).
        valid: (height, width) of the picture inside the canvas.
        size: final (H, W).
        logits_first: whether logits are brought to the final size before the sigmoid, as published
            panoptic and instance inference do; else soft masks are resized (published semantic
            inference). The two orders give different numbers.
        align_corners: whether mask logits reach the padded input with their corner cells in its
            corners (MAFT), else with equal outer edges.
        weights: (Q, K) what a mask counts for each class in labels and maps; None for the softmax
            of ``class_logits`` without void.
    """

    class_logits: Tensor
    masks: Tensor
    canvas: Size
    valid: Size
    size: Size
    logits_first: bool = False
    align_corners: bool = False
    weights: Tensor | None = None

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        """K."""
        return self.class_logits.shape[-1] - 1

    def classes(self, which: slice) -> Tensor:
        """Sum the soft masks, weighted with their probability of each class: (k, H, W)."""
        weights = self._weights()[which]
        blocks = [weights @ soft.flatten(1) for _, soft in self.soft_masks(len(weights))]
        maps: Tensor = torch.cat(blocks, dim=1).unflatten(1, self.size)
        return maps

    def labels(self) -> Tensor:
        """Give the best class per pixel: (H, W) int64, lowest index on ties."""
        weights = self._weights().t()
        if not self._pays_to_bound():
            blocks = [
                best_column(soft.flatten(1).t() @ weights)
                for _, soft in self.soft_masks(self.num_classes)
            ]
            whole: Tensor = torch.cat(blocks).unflatten(0, self.size)
            return whole
        masks = self.masks.float()
        labels = torch.empty(self.size, dtype=torch.int64)
        for rows in _parts(self.size[0], TILE[0]):
            soft = self._block(masks, rows)
            for columns in _parts(self.size[1], TILE[1]):
                tile = soft[:, :, columns]
                best = best_classes(tile.flatten(1), weights)
                labels[rows, columns] = best.unflatten(0, tile.shape[1:])
        return labels

    def _pays_to_bound(self) -> bool:
        """Whether finding the classes that can win costs less than computing all of them."""
        return (
            self.masks.device.type == "cpu"  # on an accelerator the product is no bottleneck
            and not torch.compiler.is_compiling()  # a program cannot go where the data leads
            and self.num_classes >= MANY_CLASSES
        )

    def panoptic(
        self, things: Sequence[bool], *, object_threshold: float, overlap_threshold: float
    ) -> tuple[Tensor, SegmentsInfo]:
        """Give every pixel at most one segment.

        Args:
            things: for each of the K classes, whether its segments are counted one by one.
            object_threshold: masks must score higher to take part.
            overlap_threshold: a mask that wins a smaller share of its own area is dropped.

        Returns:
            (H, W) int32 segment ids, 0 for nothing, and the segments with ``id``, ``isthing`` and
            ``category_id`` (class index).
        """
        scores, labels = self.class_logits.softmax(-1).max(-1)
        kept = ((labels != self.num_classes) & (scores > object_threshold)).nonzero()[:, 0]
        if not len(kept):
            return torch.zeros(self.size, dtype=torch.int32, device=self.masks.device), []
        winner, inside, areas = self._contest(kept, scores[kept])
        ids, info = _number_segments(labels[kept].tolist(), areas, things, overlap_threshold)
        table = place(ids, self.masks.device, torch.int32)
        return torch.where(inside, table[winner], 0), info

    def instances(self, count: int, *, things: Sequence[bool] | None = None) -> Instances:
        """Give the best (mask, class) pairs.

        Args:
            count: how many pairs are taken at most.
            things: for each class whether it may appear among the ``count``; None for all.

        Returns:
            ``pred_masks`` (n, H, W) bool, ``scores``, ``pred_classes``, and ``pred_boxes`` around
            the masks. The published code gives boxes of zeros.
        """
        probabilities = self.class_logits.softmax(-1)[:, :-1].flatten()
        scores, pairs = probabilities.topk(min(count, len(probabilities)), sorted=False)
        classes = pairs % self.num_classes
        if things is not None:
            found = place(things, classes.device)[classes].nonzero()[:, 0]
            scores, pairs, classes = scores[found], pairs[found], classes[found]
        queries, row = torch.unique(pairs // self.num_classes, return_inverse=True)
        masks, confidence = self._binary_masks(queries)
        result = Instances(self.size)
        result.pred_masks = masks[row]
        result.pred_boxes = _bounding_boxes(masks)[row]
        result.scores = scores * confidence[row]
        result.pred_classes = classes
        return result

    def soft_masks(
        self, extra: int = 0, which: Tensor | None = None
    ) -> Iterator[tuple[slice, Tensor]]:
        """Go through the picture in blocks of rows.

        Args:
            extra: float maps per row that the caller makes besides; blocks shrink accordingly.
            which: indices or mask of the queries wanted; None for all.

        Yields:
            Final rows, and (Q, r, W) mask probabilities of them.
        """
        masks = self.masks if which is None else self.masks[which]
        masks = masks.float()
        width = max(self.canvas[1], self.size[1])
        rows = max(1, CHUNK_BYTES // (4 * width * max(1, 2 * len(masks) + extra)))
        for block in _parts(self.size[0], rows):
            yield block, self._block(masks, block)

    def _weights(self) -> Tensor:
        weights = self.weights
        if weights is None:
            weights = self.class_logits.float().softmax(-1)[:, :-1]
        return weights.t().contiguous()

    def _block(self, masks: Tensor, rows: slice) -> Tensor:
        wanted = torch.arange(rows.start, rows.stop)
        if self.valid == self.size:
            wanted = place(wanted, masks.device)
            logits = resize_rows(masks, wanted, self.canvas, self.align_corners)[
                ..., : self.size[1]
            ]
            return logits.sigmoid()
        low, high, share = _neighbours(wanted, self.valid[0], self.size[0])
        first = int(low[0])
        needed = torch.arange(first, int(high[-1]) + 1, device=masks.device)
        low, high, share = (place(one, masks.device) for one in (low, high, share))
        maps = resize_rows(masks, needed, self.canvas, self.align_corners)[..., : self.valid[1]]
        maps = maps if self.logits_first else maps.sigmoid()
        maps = torch.lerp(maps[:, low - first], maps[:, high - first], share[:, None])
        maps = _resize_width(maps, self.size[1])
        return maps.sigmoid() if self.logits_first else maps

    def _contest(self, kept: Tensor, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Let the kept masks compete for pixels.

        Returns:
            (H, W) winning mask, (H, W) whether it is sure of the pixel, and per mask the areas
            (won, sure, won and sure).
        """
        count = len(scores)
        winners, insides = [], []
        areas = torch.zeros(3, count, dtype=torch.int64, device=scores.device)
        for _, soft in self.soft_masks(3 * count, kept):
            pixels = soft.flatten(1).t() * scores
            winner = best_column(pixels.contiguous()).unflatten(0, soft.shape[1:])
            inside = soft.gather(0, winner[None])[0] >= 0.5
            areas[0] += torch.bincount(winner.flatten(), minlength=count)
            areas[1] += (soft >= 0.5).sum(dim=(1, 2))
            areas[2] += torch.bincount(winner[inside], minlength=count)
            winners.append(winner)
            insides.append(inside)
        return torch.cat(winners), torch.cat(insides), areas

    def _binary_masks(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """(n, H, W) binary masks and the (n,) mean probability inside them."""
        if not len(queries):
            nothing = torch.zeros(0, *self.size, dtype=torch.bool, device=queries.device)
            return nothing, self.masks.new_zeros(0)
        blocks = []
        inside, total = self.masks.new_zeros(2, len(queries), dtype=torch.float32)
        for _, soft in self.soft_masks(0, queries):
            binary = soft > 0.5  # logit > 0
            inside = inside + (soft * binary).sum(dim=(1, 2))
            total = total + binary.sum(dim=(1, 2))
            blocks.append(binary)
        return torch.cat(blocks, dim=1), inside / (total + 1e-6)


def _parts(length: int, step: int) -> Iterator[slice]:
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def _number_segments(
    labels: list[int], areas: Tensor, things: Sequence[bool], overlap_threshold: float
) -> tuple[list[int], SegmentsInfo]:
    """Give each kept mask its segment id (0: dropped); stuff of one class shares an id."""
    ids: list[int] = []
    info: SegmentsInfo = []
    stuff: dict[int, int] = {}
    for label, (won, sure, visible) in zip(labels, areas.t().tolist(), strict=True):
        if not (won and sure and visible) or won / sure < overlap_threshold:
            ids.append(0)
            continue
        if not things[label] and label in stuff:
            ids.append(stuff[label])
            continue
        info.append({"id": len(info) + 1, "isthing": bool(things[label]), "category_id": label})
        ids.append(len(info))
        if not things[label]:
            stuff[label] = len(info)
    return ids, info


def _bounding_boxes(masks: Tensor) -> Boxes:
    """Boxes of (n, H, W) binary masks, as ``BitMasks`` gives them, without a wait for each mask."""
    ends = []
    for length, dim in ((masks.shape[2], 1), (masks.shape[1], 2)):
        filled = masks.any(dim)
        place_of = torch.arange(length, device=masks.device)
        ends.append(torch.where(filled, place_of, length).amin(1))
        ends.append(torch.where(filled, place_of + 1, 0).amax(1))
    (left, right, top, bottom), some = ends, masks.flatten(1).any(1)
    return Boxes(torch.stack([left, top, right, bottom], 1).float() * some[:, None])


def resize_rows(maps: Tensor, rows: Tensor, size: Size, align_corners: bool = False) -> Tensor:
    """Compute some rows of a bilinear resize.

    Args:
        maps: (Q, h, w).
        rows: (r,) rows of the result that are wanted.
        size: (H, W) of the whole result.
        align_corners: whether the centres of the corner cells stay in the corners, else the outer
            edges do.

    Returns:
        (Q, r, W).
    """
    if maps.shape[1] == size[0]:
        maps = maps[:, rows]
    else:
        low, high, share = _neighbours(rows, maps.shape[1], size[0], align_corners)
        maps = torch.lerp(maps[:, low], maps[:, high], share[:, None])
    return _resize_width(maps, size[1], align_corners)


def _resize_width(maps: Tensor, width: int, align_corners: bool = False) -> Tensor:
    if maps.shape[-1] == width:
        return maps
    size = (maps.shape[-2], width)
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=align_corners)[0]


def _neighbours(
    rows: Tensor, before: int, after: int, align_corners: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Source rows below and above each wanted row, and the share of the upper one."""
    if align_corners:
        position = rows * ((before - 1) / max(after - 1, 1))
    else:
        position = ((rows + 0.5) * (before / after) - 0.5).clamp(min=0)
    low = position.floor().long().clamp(max=before - 1)
    return low, (low + 1).clamp(max=before - 1), position - low
