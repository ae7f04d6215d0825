"""What evaluators are given: records, splits, outputs of models. All complaints are made here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.data import DatasetCatalog
from torch import Tensor

from ..data.labels import by_picture
from ..errors import UserError


def labels_of(output: Tensor | Mapping[str, Tensor], num_classes: int, rule: str) -> Tensor:
    """Take labels from an output, or make them from scores (ties go to the lowest index).

    Args:
        output: dict with ``sem_seg_labels`` (H, W) or ``sem_seg``, or that tensor: integer labels
            (H, W) or scores (C, H, W).
        num_classes: C of the dataset.
        rule: background rule; with ``last_class`` there may be more scores than classes.

    Returns:
        (H, W) integers.

    Raises:
        UserError: if there is no such output, or its size does not fit.
    """
    if isinstance(output, Mapping):
        found = next((output[k] for k in ("sem_seg_labels", "sem_seg") if k in output), None)
        if found is None:
            raise UserError(
                f"the model gave {sorted(output)}; the evaluator needs 'sem_seg' or "
                "'sem_seg_labels'"
            )
        output = found
    if output.dim() == 2 and not output.is_floating_point():
        return output
    if output.dim() != 3:
        raise UserError(
            f"the model gave {output.dtype} of shape {tuple(output.shape)}; expected scores "
            "(C, H, W) or integer labels (H, W)"
        )
    if len(output) != num_classes and not (rule == "last_class" and len(output) > num_classes):
        raise UserError(
            f"the model scores {len(output)} classes, the dataset has {num_classes}; give the "
            "model the dataset's vocabulary"
        )
    return output.argmax(0)


def check_prediction(labels: Tensor, num_classes: int, picture: str) -> None:
    """Refuse labels outside 0..C-1.

    Args:
        labels: (H, W) integers.
        num_classes: C.
        picture: named in the message.

    Raises:
        UserError: if there is one.
    """
    low, high = map(int, torch.stack(torch.aminmax(labels)).tolist())
    if low < 0 or high >= num_classes:
        raise UserError(
            f"{picture}: the prediction holds label {low if low < 0 else high}, outside "
            f"0..{num_classes - 1}; give the model the dataset's vocabulary"
        )


def split_indices(
    metadata: Any,
    num_classes: int,
    seen: Sequence[int] | None,
    unseen: Sequence[int] | None,
) -> tuple[list[int], list[int]]:
    """Give the indices of seen and unseen classes.

    Args:
        metadata: of the dataset; its ``seen_classes`` and ``unseen_classes`` serve where None is
            given. With unseen classes only, all others are seen.
        num_classes: C.
        seen: indices, or None.
        unseen: indices, or None.

    Returns:
        Two lists, both empty if there is no split.

    Raises:
        UserError: if an index is out of range or in both lists.
    """
    seen = metadata.get("seen_classes", ()) if seen is None else seen
    unseen = metadata.get("unseen_classes", ()) if unseen is None else unseen
    seen, unseen = list(seen), list(unseen)
    if unseen and not seen:
        seen = [i for i in range(num_classes) if i not in set(unseen)]
    wrong = [i for i in (*seen, *unseen) if not 0 <= i < num_classes] or set(seen) & set(unseen)
    if wrong:
        raise UserError(
            f"seen and unseen classes must be different indices in 0..{num_classes - 1}; "
            f"wrong: {sorted(wrong)[:5]}"
        )
    return seen, unseen


def records_by_picture(dataset_name: str) -> dict[str, Mapping[str, Any]]:
    """Give the records of a dataset by ``file_name``.

    Raises:
        UserError: if a record has no label file, or a picture is listed twice.
    """
    return by_picture(dataset_name, DatasetCatalog.get(dataset_name))


def size_text(shape: Sequence[int]) -> str:
    """Write a size as ``height x width``."""
    return " x ".join(map(str, shape))
