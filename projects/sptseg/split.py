"""Seen and unseen classes, and what the three training modes make of the labels (ZegCLIP).

Letters: B pictures, K classes of the data set, H x W labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ovs_core.errors import UserError, nearest
from ovs_core.modeling.label_argmax import argmax_upsample
from ovs_core.modeling.scores import size_of

MODES = ("inductive", "transductive", "fully")
IGNORE = 255
UNSEEN = -1


@dataclass(frozen=True)
class ClassSplit:
    """Which of K classes are trained with labels.

    Attributes:
        seen: class indices, ascending.
        unseen: class indices, ascending.

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
    def from_unseen(cls, unseen: Sequence[int], count: int) -> ClassSplit:
        """Take all of ``count`` classes but ``unseen`` as seen.

        Raises:
            UserError: if an unseen class does not exist.
        """
        outside = [i for i in unseen if not 0 <= i < count]
        if outside:
            raise UserError(f"unseen classes {outside} do not exist among {count} classes")
        return cls(tuple(i for i in range(count) if i not in set(unseen)), tuple(sorted(unseen)))

    @classmethod
    def from_names(
        cls, names: Sequence[str], seen: Sequence[str], unseen: Sequence[str]
    ) -> ClassSplit:
        """Take the sides by name; an empty side is what the other leaves.

        Args:
            names: K class names.
            seen: names of the seen classes.
            unseen: names of the unseen classes.

        Raises:
            UserError: for an unknown name, an overlap, or a class on neither side.
        """
        sides = [_indices(names, side, key) for side, key in ((seen, "SEEN"), (unseen, "UNSEEN"))]
        for here, there in ((0, 1), (1, 0)):
            if not sides[here]:
                sides[here] = [i for i in range(len(names)) if i not in sides[there]]
        both = [names[i] for i in sides[0] if i in sides[1]]
        missing = [n for i, n in enumerate(names) if i not in sides[0] and i not in sides[1]]
        if both or missing:
            fault = f"{both} on both sides" if both else f"{missing} on neither"
            raise UserError(
                f"MODEL.SPTSEG.SEEN and UNSEEN must share the {len(names)} classes out, but have "
                f"{fault}"
            )
        return cls(*(tuple(sorted(side)) for side in sides))

    def trained_classes(self, mode: str) -> Tensor:
        """Indices of the classes whose masks are trained: the seen ones, or all."""
        return torch.tensor(self.seen if mode == "inductive" else range(self.count))

    def map_labels(self, labels: Tensor, mode: str) -> Tensor:
        """Bring labels to the indices of the trained masks.

        Args:
            labels: (B, H, W) class indices, 255 for unlabelled pixels.
            mode: inductive: position among the seen classes, unseen ones become -1;
                transductive: seen classes stay, unseen ones become -1; fully: nothing changes.

        Returns:
            (B, H, W) int64; 255 stays.

        Raises:
            UserError: if a label is neither a class nor 255.
        """
        labels = labels.long()
        wrong = (labels != IGNORE) & ((labels < 0) | (labels >= self.count))
        if wrong.any():
            raise UserError(
                f"label {int(labels[wrong][0])} is neither one of the {self.count} classes nor "
                f"{IGNORE} (unlabelled); check the data set's label files"
            )
        if mode == "fully":
            return labels
        table = torch.full((IGNORE + 1 if self.count <= IGNORE else self.count,), UNSEEN)
        seen = torch.tensor(self.seen)
        table[seen] = torch.arange(len(seen)) if mode == "inductive" else seen
        table = table.to(labels.device)
        return torch.where(labels == IGNORE, IGNORE, table[labels])

    @torch.no_grad()
    def fill_unseen(self, labels: Tensor, logits: Tensor) -> Tensor:
        """Give pixels of unseen classes the best unseen class of the current prediction.

        Args:
            labels: (B, H, W) from ``map_labels``; -1 where the truth is unseen.
            logits: (B, K, h, w) of all classes.

        Returns:
            (B, H, W) without -1. The lowest index wins ties.
        """
        unseen = torch.tensor(self.unseen, device=labels.device)
        pseudo = argmax_upsample(logits[:, unseen], size_of(labels))
        return torch.where(labels == UNSEEN, unseen[pseudo.long()], labels)


def _indices(names: Sequence[str], chosen: Sequence[str], key: str) -> list[int]:
    for name in chosen:
        if name not in names:
            raise UserError(f"MODEL.SPTSEG.{key}: no class '{name}'.{nearest(name, names)}")
    return [names.index(name) for name in chosen]
