"""Seen and unseen classes, and what the three training modes make of the labels (ZegCLIP).

Letters: B pictures, K classes of the dataset, H x W labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ovs_core.errors import UserError, nearest
from ovs_core.modeling.label_argmax import argmax_upsample
from ovs_core.modeling.scores import size_of
from ovs_core.tensor.placing import place
from ovs_core.words.label_space import UNSEEN, ClassSplit

MODES = ("inductive", "transductive", "fully")


class TrainedSplit(ClassSplit):
    """A split with the three training modes."""

    @classmethod
    def from_names(
        cls, names: Sequence[str], seen: Sequence[str], unseen: Sequence[str]
    ) -> TrainedSplit:
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
            labels: (B, H, W) class indices, ``IGNORE`` for unlabelled pixels.
            mode: inductive: position among the seen classes, unseen ones become ``UNSEEN``;
                transductive: seen classes stay, unseen ones become ``UNSEEN``; fully: nothing
                changes.

        Returns:
            (B, H, W) int64; ``IGNORE`` stays.

        Raises:
            UserError: if a label is neither a class nor ``IGNORE``.
        """
        split = ClassSplit.from_unseen((), self.count) if mode == "fully" else self
        return split.relabel(labels, hidden=UNSEEN, renumber=mode == "inductive")

    @torch.no_grad()
    def fill_unseen(self, labels: Tensor, logits: Tensor) -> Tensor:
        """Give pixels of unseen classes the best unseen class of the current prediction.

        Args:
            labels: (B, H, W) from ``map_labels``; ``UNSEEN`` where the truth is.
            logits: (B, K, h, w) of all classes.

        Returns:
            (B, H, W) without ``UNSEEN``. The lowest index wins ties.
        """
        unseen = place(self.unseen, labels.device)
        pseudo = argmax_upsample(logits[:, unseen], size_of(labels))
        return torch.where(labels == UNSEEN, unseen[pseudo.long()], labels)


def _indices(names: Sequence[str], chosen: Sequence[str], key: str) -> list[int]:
    for name in chosen:
        if name not in names:
            raise UserError(f"MODEL.SPTSEG.{key}: no class '{name}'.{nearest(name, names)}")
    return [names.index(name) for name in chosen]
