"""Pictures of one size that go through a network together, and come apart again.

Letters: B pictures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


def encode_by_shape(encode: Callable[[Tensor], Any], images: Sequence[Tensor]) -> list[Any]:
    """Encode pictures, those of one shape in one batch.

    No picture is padded for a neighbour's sake, so that none sees who else is in the batch.

    Args:
        encode: (B, C, h, w) -> features, whose tensors have the pictures first.
        images: (C, h, w) each.

    Returns:
        Features of each picture, B = 1, in the order of the pictures.
    """
    found: dict[int, Any] = {}
    for own in by_shape(images):
        features = encode(torch.stack([images[i] for i in own]))
        found |= {i: picture_of(features, row) for row, i in enumerate(own)}
    return [found[i] for i in range(len(images))]


def by_shape(images: Sequence[Tensor]) -> list[list[int]]:
    """Group the indices of tensors of one shape, in order of appearance."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(images):
        groups.setdefault(tuple(image.shape), []).append(index)
    return list(groups.values())


def picture_of(features: Any, row: int) -> Any:
    """Take one picture out of the features of a batch, B = 1.

    Args:
        features: tensors with the pictures first, see ``map_tensors``.
        row: number of the picture.

    Raises:
        TypeError: for what ``map_tensors`` does not know.
    """
    return map_tensors(features, lambda tensor: tensor[row : row + 1])


def map_tensors(features: Any, change: Callable[[Tensor], Any]) -> Any:
    """Change every tensor of features, which keep their form.

    Args:
        features: tensors in lists, tuples, maps and dataclasses; whole numbers, texts and None
            belong to every picture and stay.
        change: tensor -> what takes its place.

    Raises:
        TypeError: for anything else, of which nobody knows which part is the picture's.
    """
    if isinstance(features, Tensor):
        return change(features)
    if isinstance(features, tuple) and hasattr(features, "_fields"):
        return type(features)(*(map_tensors(part, change) for part in features))
    if isinstance(features, (list, tuple)):
        return type(features)(map_tensors(part, change) for part in features)
    if isinstance(features, dict):
        return {name: map_tensors(part, change) for name, part in features.items()}
    if dataclasses.is_dataclass(features) and not isinstance(features, type):
        parts = {f.name: getattr(features, f.name) for f in dataclasses.fields(features)}
        return type(features)(**{name: map_tensors(part, change) for name, part in parts.items()})
    if features is None or isinstance(features, (int, str)):
        return features
    raise TypeError(f"no picture can be taken out of a {type(features).__name__}")
