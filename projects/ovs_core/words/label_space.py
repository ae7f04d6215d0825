"""What the numbers in a label map mean: in the files of a dataset, and everywhere else.

Files name their unlabelled pixels by a value of their dataset: 255, 254, 65535. Mappers and
evaluators turn it into ``IGNORE`` as they read, so that no model ever sees a dataset's own value.

Letters: K classes, S seen classes, H x W labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from numpy.typing import NDArray
from torch import Tensor

from ..errors import UserError, nearest
from .class_lists import load_class_list

# Pixels that do not count. No class can have this number, and whoever takes it for an index is told
# so at once; -1 would silently be the last class.
IGNORE = 65535
UNSEEN = -1  # pixels of a class that training must not know; which one is not told

AnySplit = TypeVar("AnySplit", bound="ClassSplit")
AnyLabels = TypeVar("AnyLabels", bound="Tensor | NDArray[np.integer]")


def fold_background(labels: AnyLabels, background: Sequence[int]) -> AnyLabels:
    """Count every background word as the first of them.

    Args:
        labels: (..., H, W) class indices; not changed.
        background: indices of the background words; fewer than two change nothing.

    Returns:
        Labels of the same kind and shape.
    """
    if len(background) < 2:
        return labels
    first, *others = background
    if isinstance(labels, Tensor):
        chosen = torch.isin(labels, torch.tensor(others, dtype=labels.dtype, device=labels.device))
        return cast("AnyLabels", labels.masked_fill(chosen, first))
    return cast("AnyLabels", np.where(np.isin(labels, others), labels.dtype.type(first), labels))


@dataclass(frozen=True)
class ClassSplit:
    """Which of K classes are trained with labels.

    Attributes:
        seen: S class indices, ascending.
        unseen: class indices, ascending; may be none.

    Raises:
        UserError: if the two overlap, miss a class, or leave nothing to train.
    """

    seen: tuple[int, ...]
    unseen: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check that every class is on one side."""
        both = sorted(set(self.seen) & set(self.unseen))
        if both:
            raise UserError(f"classes {both} are both seen and unseen; take them out of one side")
        known = sorted((*self.seen, *self.unseen))
        missing = sorted(set(range(len(known))) - set(known))
        if missing or known != sorted(set(known)):
            raise UserError(
                f"the seen and unseen classes must cover 0..{len(known) - 1} once, but {missing} "
                "are missing (or one stands there twice)"
            )
        if not self.seen:
            raise UserError("no class is seen; at least one needs training pixels")

    @property
    def count(self) -> int:
        """K."""
        return len(self.seen) + len(self.unseen)

    @classmethod
    def from_unseen(cls: type[AnySplit], unseen: Sequence[int], count: int) -> AnySplit:
        """Take all of ``count`` classes but ``unseen`` as seen.

        Raises:
            UserError: if an unseen class does not exist.
        """
        outside = [i for i in unseen if not 0 <= i < count]
        if outside:
            raise UserError(f"unseen classes {outside} do not exist among {count} classes")
        return cls(tuple(i for i in range(count) if i not in set(unseen)), tuple(sorted(unseen)))

    def relabel(self, labels: Tensor, *, hidden: int, renumber: bool = True) -> Tensor:
        """Give the pixels of all unseen classes one value, and number the seen classes 0..S-1.

        Args:
            labels: (..., H, W) class indices, ``IGNORE``, or ``UNSEEN`` where a mapper has hidden
                the class already.
            hidden: what pixels of unseen classes become: ``IGNORE`` or ``UNSEEN``.
            renumber: False leaves the seen classes their indices.

        Returns:
            (..., H, W) int64: positions of seen classes (or their indices), ``hidden``, ``IGNORE``.

        Raises:
            UserError: for any other label.
        """
        labels = labels.long()
        named = (labels >= 0) & (labels < self.count)
        ignored = labels == IGNORE
        wrong = ~(named | ignored | (labels == UNSEEN))
        if wrong.any():
            raise UserError(
                f"label {int(labels[wrong][0])} is neither one of the {self.count} classes nor "
                f"{IGNORE} (unlabelled); check the dataset's label files"
            )
        table = torch.full((self.count,), hidden)
        seen = torch.tensor(self.seen)
        table[seen] = torch.arange(len(seen)) if renumber else seen
        found = table.to(labels.device, non_blocking=True)[labels.where(named, 0)]
        return found.where(named, hidden).masked_fill(ignored, IGNORE)


@dataclass(frozen=True)
class LabelSpace:
    """What the values of a dataset's label maps mean.

    Attributes:
        num_classes: K, indices 0..K-1.
        ignore_label: value in the files of pixels that do not count.
        seen: indices of the seen classes; with unseen ones alone, all others are.
        unseen: indices of the unseen classes; empty if the dataset makes no such difference.
        background: indices of the classes that its names mark as background; they count as one.
    """

    num_classes: int
    ignore_label: int = 255
    seen: tuple[int, ...] = ()
    unseen: tuple[int, ...] = ()
    background: tuple[int, ...] = ()

    def apart(self) -> LabelSpace:
        """The same space with each background class for itself.

        Training learns every class by its own word; what is scored or shown counts them as one.
        """
        return replace(self, background=())

    @property
    def split(self) -> ClassSplit | None:
        """Seen and unseen classes for training, None if the dataset makes no such difference.

        Raises:
            UserError: if a class is on neither side, or on both.
        """
        if not self.unseen:
            return None
        split = ClassSplit.from_unseen(self.unseen, self.num_classes)
        if self.seen and sorted(self.seen) != list(split.seen):
            raise UserError(
                f"the seen classes {list(self.seen)} and the unseen ones {list(self.unseen)} must "
                f"share 0..{self.num_classes - 1} out"
            )
        return split

    def canonical(self, stored: NDArray[np.integer], *, path: str | Path) -> NDArray[np.int64]:
        """Turn the values of a label file into those that all code shares.

        Args:
            stored: (H, W) class indices and ``ignore_label``.
            path: named in the message.

        Returns:
            (H, W) int64 in 0..K-1, all background as its first class, or ``IGNORE``.

        Raises:
            UserError: for a value that is neither a class nor ignored.
        """
        if wrong := self.strangers(stored):
            shown = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
            raise UserError(
                f"{path}: label value {shown} is outside 0..{self.num_classes - 1} and is not the "
                f"ignore value {self.ignore_label}; are these raw labels, or labels of another "
                "class list?"
            )
        labels = stored.astype(np.int64)
        labels[stored == self.ignore_label] = IGNORE
        return fold_background(labels, self.background)

    def strangers(self, values: NDArray[np.integer]) -> list[int]:
        """List the ``values`` of a label file that are neither a class nor ignored, ascending."""
        known = (values >= 0) & (values < self.num_classes) | (values == self.ignore_label)
        return [int(value) for value in np.unique(values[~known])]


def label_space(dataset_name: str) -> LabelSpace:
    """Read the label space of a registered dataset.

    Raises:
        UserError: if the dataset is unknown, has no semantic classes, more than can be told from
            ``IGNORE``, or an ignore value that is a class.
    """
    if dataset_name not in MetadataCatalog:
        known = MetadataCatalog.list()
        raise UserError(f"unknown dataset '{dataset_name}'.{nearest(dataset_name, known)}")
    metadata = MetadataCatalog.get(dataset_name)
    if other := metadata.get("label_class_list"):
        names: Sequence[str] = load_class_list(other).names
    else:
        names = metadata.get("stuff_classes") or ()
    ignore = metadata.get("ignore_label", 255)
    _check_space(dataset_name, names, ignore)
    seen, unseen = metadata.get("seen_classes") or (), metadata.get("unseen_classes") or ()
    background = metadata.get("background_classes") or ()
    return LabelSpace(len(names), ignore, tuple(seen), tuple(unseen), tuple(background))


def _check_space(dataset_name: str, names: Sequence[str], ignore: int) -> None:
    if not names:
        raise UserError(f"dataset '{dataset_name}' has no semantic classes (stuff_classes)")
    if len(names) > IGNORE:
        raise UserError(
            f"dataset '{dataset_name}' has {len(names)} classes; at most {IGNORE} can be told apart"
        )
    if 0 <= ignore < len(names):
        raise UserError(
            f"dataset '{dataset_name}': its ignore_label {ignore} lies inside the class range "
            f"0..{len(names) - 1}, so that class '{names[ignore]}' would never count"
        )
