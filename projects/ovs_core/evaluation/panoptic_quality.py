"""Panoptic quality by the rules of the COCO panoptic API, on id maps in memory.

Every sum is an integer, that of the IoUs too (in units of 2^-42), so that neither the order of the
pictures nor the number of processes changes a digit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UserError

VOID = 0
_UNIT = 2**42  # of the IoU sum; 2 million matches per category fit
_TABLE_SIZE = 2**24  # ids of 24 bits, all that a panoptic PNG holds

Segment = Mapping[str, Any]


@dataclass
class PanopticCounts:
    """Sums over pictures, one entry per category (K).

    Attributes:
        sums: (4, K) int64: matches, false positives, misses, IoU of the matches in ``2 ** -42``.
    """

    sums: np.ndarray

    @classmethod
    def zeros(cls, num_categories: int) -> PanopticCounts:
        """Counts of no picture."""
        return cls(np.zeros((4, num_categories), dtype=np.int64))

    @property
    def iou(self) -> np.ndarray:
        """(K,) sum of the IoUs of the matches."""
        return self.sums[3] / _UNIT

    def add(self, row: int, category: int, iou: float = 0.0) -> None:
        """Count a match (row 0, with its IoU), a false positive (1) or a miss (2)."""
        self.sums[row, category] += 1
        self.sums[3, category] += round(iou * _UNIT)


@dataclass(frozen=True)
class PanopticFigures:
    """Fractions, from the counts.

    Attributes:
        pq: (K,) panoptic quality per category, 0 where nothing was counted.
        sq: (K,) mean IoU of the matches.
        rq: (K,) F1 of the matching.
        counted: (K,) whether anything was counted.
    """

    pq: np.ndarray
    sq: np.ndarray
    rq: np.ndarray
    counted: np.ndarray

    @classmethod
    def of(cls, counts: PanopticCounts) -> PanopticFigures:
        """Divide the sums."""
        tp, fp, fn = counts.sums[:3].astype(np.float64)
        size = tp + fp / 2 + fn / 2
        return cls(
            pq=_divide(counts.iou, size),
            sq=_divide(counts.iou, tp),
            rq=_divide(tp, size),
            counted=size > 0,
        )

    def mean(self, group: np.ndarray) -> tuple[float, float, float, int]:
        """Average over the counted categories of a group.

        Args:
            group: (K,) bool.

        Returns:
            PQ, SQ, RQ and the number of categories; NaN and 0 if none was counted. A category
            without a match enters SQ as 0, so mean PQ is not mean SQ times mean RQ.
        """
        chosen = group & self.counted
        number = int(chosen.sum())
        if not number:
            return float("nan"), float("nan"), float("nan"), 0
        pq, sq, rq = (float(x[chosen].mean()) for x in (self.pq, self.sq, self.rq))
        return pq, sq, rq, number


class PanopticMatcher:
    """Matches segments and counts.

    Args:
        category_ids: dataset ids; their order is that of the counts.
    """

    def __init__(self, category_ids: Sequence[int]) -> None:
        self.index = {category: i for i, category in enumerate(category_ids)}
        self.counts = PanopticCounts.zeros(len(self.index))
        self._table = np.zeros(_TABLE_SIZE, dtype=np.int32)

    def add(
        self,
        truth_ids: np.ndarray,
        truth: Sequence[Segment],
        predicted_ids: np.ndarray,
        predicted: Sequence[Segment],
        *,
        name: str = "picture",
    ) -> None:
        """Count one picture.

        Args:
            truth_ids: (H, W) segment id per pixel, 0 is void.
            truth: segments ``id``, ``category_id``, optional ``iscrowd`` and ``area`` (taken from
                here, not from the map, if given).
            predicted_ids: (H, W) likewise.
            predicted: segments ``id``, ``category_id``.
            name: of the picture, for messages.

        Raises:
            UserError: if sizes differ, or map and list of segments disagree.
        """
        if truth_ids.shape != predicted_ids.shape:
            raise UserError(
                f"{name}: the ground truth is {truth_ids.shape}, the prediction "
                f"{predicted_ids.shape} (height, width)"
            )
        truth_index = self._rank(truth_ids, truth, f"{name}: ground truth")
        predicted_index = self._rank(predicted_ids, predicted, f"{name}: prediction")
        shape = (len(truth) + 1, len(predicted) + 1)
        pairs = truth_index * np.int32(shape[1]) + predicted_index
        overlap = np.bincount(pairs.ravel(), minlength=shape[0] * shape[1]).reshape(shape)
        empty = np.flatnonzero(overlap.sum(0)[1:] == 0)
        if empty.size:
            raise UserError(
                f"{name}: prediction lists segment {predicted[empty[0]]['id']}, but no pixel has it"
            )
        self._match(overlap, truth, predicted)

    def _rank(self, ids: np.ndarray, segments: Sequence[Segment], what: str) -> np.ndarray:
        """Replace each id by 1 + its place in the list, void by 0: (H, W) int32."""
        listed = np.array([segment["id"] for segment in segments], dtype=np.int64)
        if len(set(listed.tolist())) < len(listed) or (listed == VOID).any():
            raise UserError(f"{what}: segment ids must be different and not {VOID} (void)")
        unknown = {s["category_id"] for s in segments} - self.index.keys()
        if unknown:
            raise UserError(f"{what}: category {min(unknown)} is not one of the dataset's")
        highest = max(int(ids.max(initial=0)), int(listed.max(initial=0)))
        if int(ids.min(initial=0)) < 0 or (listed < 0).any():
            raise UserError(f"{what}: segment ids must not be negative; {VOID} is void")
        if highest < _TABLE_SIZE:
            self._table[listed] = np.arange(1, len(listed) + 1)
            ranks = self._table[ids]
            self._table[listed] = 0
        else:
            order = np.argsort(listed)
            place = np.searchsorted(listed[order], ids).clip(max=max(len(listed) - 1, 0))
            found = listed[order][place] == ids if len(listed) else np.zeros(ids.shape, dtype=bool)
            ranks = np.where(found, order[place] + 1 if len(listed) else 0, 0).astype(np.int32)
        if np.count_nonzero(ranks) != np.count_nonzero(ids):
            missing = int(ids[(ranks == 0) & (ids != VOID)][0])
            raise UserError(f"{what}: pixels have id {missing}, which no segment in the list has")
        return ranks

    def _match(
        self, overlap: np.ndarray, truth: Sequence[Segment], predicted: Sequence[Segment]
    ) -> None:
        """Count matches, misses and false positives of one picture.

        Args:
            overlap: (1 + G, 1 + P) pixels shared by ground truth and prediction; 0 is void.
            truth: G segments.
            predicted: P segments.
        """
        areas = overlap.sum(0)[1:]
        truth_areas = overlap.sum(1)[1:].tolist()
        truth_areas = [s.get("area", a) for s, a in zip(truth, truth_areas, strict=True)]
        truth_class = np.array([s["category_id"] for s in truth], dtype=np.int64)
        predicted_class = np.array([s["category_id"] for s in predicted], dtype=np.int64)
        crowd = np.array([bool(s.get("iscrowd", 0)) for s in truth], dtype=bool)
        shared = overlap[1:, 1:].astype(np.float64)
        union = areas + np.array(truth_areas, dtype=np.float64)[:, None] - shared - overlap[0, 1:]
        fit = (truth_class[:, None] == predicted_class) & ~crowd[:, None] & (shared > 0)
        iou = np.divide(shared, union, out=np.zeros_like(shared), where=fit & (union > 0))
        matches = iou > 0.5
        for g, p in np.argwhere(matches):
            self.counts.add(0, self.index[int(truth_class[g])], iou[g, p])
        for g in np.flatnonzero(~matches.any(1) & ~crowd):
            self.counts.add(2, self.index[int(truth_class[g])])
        # Of several crowd segments of a category the last one in the list shields it.
        shield = {int(truth_class[g]): int(g) + 1 for g in np.flatnonzero(crowd)}
        for p in np.flatnonzero(~matches.any(0)):
            category = int(predicted_class[p])
            excused = overlap[0, p + 1]
            if category in shield:
                excused = excused + overlap[shield[category], p + 1]
            if excused / areas[p] <= 0.5:
                self.counts.add(1, self.index[category])


def _divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)
