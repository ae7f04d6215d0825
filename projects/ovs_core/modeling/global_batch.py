"""What the losses of a part of a step know of the whole step.

The pictures of a training step, its global batch, are shared out over processes and accumulated
batches; each share is a part. A loss that is divided by a count, such as that of labelled pixels,
or that contrasts pictures, must not depend on how they are shared out, so every part knows the
facts about all pictures before the first of them is trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .scores import Size, size_of

Facts = Mapping[str, Any]  # about one picture: numbers, or tensors on the CPU


@dataclass(frozen=True)
class GlobalBatch:
    """All pictures of a step, seen from one part.

    Attributes:
        facts: about every picture, in order of draws; ``size`` is (height, width).
        start: place of the part's first picture.
        pictures: pictures of the part.
        last: whether it is the last part of this process.
    """

    facts: Sequence[Facts]
    start: int
    pictures: int
    last: bool = True

    @property
    def size(self) -> Size:
        """Height of the highest and width of the widest picture: what all are padded to."""
        return _largest([one["size"] for one in self.facts])

    def total(self, name: str) -> float:
        """Sum of a number over all pictures."""
        return float(sum(one[name] for one in self.facts))

    def count(self, name: str) -> float:
        """What a part's sum is divided by: the total, at least 1, by the part's share of pictures.

        The mean of the quotients over all parts, weighted by their pictures, is then the sum over
        all pictures divided by the total.
        """
        return max(self.total(name), 1.0) * self.pictures / len(self.facts)


def largest_size(samples: Sequence[Mapping[str, Any]], batch: GlobalBatch | None) -> Size:
    """(H, W) that the pictures of a part are padded to: the whole step's, or their own alone."""
    return _largest([picture_size(one) for one in samples]) if batch is None else batch.size


def picture_size(sample: Mapping[str, Any]) -> Size:
    """(h, w) of a sample's picture."""
    image: Tensor = sample["image"]
    return size_of(image)


def _largest(sizes: Sequence[Size]) -> Size:
    heights, widths = zip(*sizes, strict=True)
    return max(heights), max(widths)
