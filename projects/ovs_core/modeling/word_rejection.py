"""Early rejection of words: a decoder runs on those that look best in a picture.

Letters: B windows, K words, n kept words, P prompts per word, E joint width, h x w grid.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from .cost_aggregation import cost_volume
from .scores import Scores, Size


def best_words(images: Iterable[Tensor], text: Tensor, count: int) -> Tensor:
    """Choose the words with the largest cosine in any cell of a picture, by any of their prompts.

    Args:
        images: (B, E, h, w) dense features of all windows of the picture.
        text: (K, P, E) text features.
        count: n, less than K.

    Returns:
        (n,) int64 indices in ascending order.
    """
    best = [cost_volume(image, text[None]).amax(dim=(0, 2, 3, 4)) for image in images]
    return torch.stack(best).amax(dim=0).topk(count, sorted=False).indices.sort().values


@dataclass
class KeptScores(Scores):
    """Scores of all words, of which only some were computed.

    Labels are the best of the kept words alone, so that no other one can be among them.

    Attributes:
        few: scores of the n kept words.
        kept: (n,) their indices, ascending.
        num_classes: K.
        floor: score of a dropped word at every pixel.
    """

    few: Scores
    kept: Tensor
    num_classes: int
    floor: float

    @property
    def size(self) -> Size:  # type: ignore[override]
        """Final (H, W)."""
        return self.few.size

    def classes(self, which: slice) -> Tensor:
        """Give a range of classes, the dropped ones at the floor."""
        bounds = self.kept.new_tensor([which.start, which.stop])
        first, last = torch.searchsorted(self.kept, bounds).tolist()
        count = which.stop - which.start
        full = torch.full((count, *self.size), self.floor, device=self.kept.device)
        if first < last:
            full[self.kept[first:last] - which.start] = self.few.classes(slice(first, last))
        return full

    def labels(self) -> Tensor:
        """Best of the kept words."""
        return self.kept[self.few.labels()]
