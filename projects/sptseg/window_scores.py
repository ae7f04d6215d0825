"""Labels of independent class probabilities, without a probability map for every class.

Letters: K classes, h x w mask grid, H x W picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ovs_core.modeling.losses import enlarge
from ovs_core.modeling.scores import WindowScores

GROUP = 8  # maps that are enlarged at once: they stay in the cache of a CPU core


@dataclass
class ProbabilityWindows(WindowScores):
    """Window scores whose activation is a sigmoid, less a constant on seen classes.

    Attributes:
        seen: (K,) bool.
        bias: taken off the probabilities of seen classes.
    """

    seen: Tensor | None = None
    bias: float = 0.0

    def labels(self) -> Tensor:
        """Give the best class per pixel: (H, W) int64, lowest index on ties.

        The sigmoid does not change the order of classes that carry the same bias. Where one window
        is the whole picture, the best seen and the best unseen class are therefore found among the
        logits, and two maps of probabilities remain to be compared.
        """
        one_window = len(self.windows) == 1 and self.boxes[0] == (0, 0, *self.size)
        if not one_window or self.canvas != self.size or self.whole is not None:
            return super().labels()
        best = None
        for group, bias in ((self.seen, self.bias), (~self.seen, 0.0)):
            classes = group.nonzero()[:, 0]
            if not len(classes):
                continue
            logits, index = _maximum(self.windows[0][classes].float(), self.size)
            found = torch.sigmoid_(logits).sub_(bias), classes[index]
            best = found if best is None else _better(best, found)
        return best[1]

    def _activate(self, maps: Tensor, size: tuple[int, int], which: slice) -> Tensor:
        maps = torch.sigmoid_(enlarge(maps.float(), size))
        if self.bias:
            maps[self.seen[which]] -= self.bias
        return maps


def _maximum(grids: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Largest value of (K, h, w) grids enlarged to (H, W), and which grid has it (the lowest)."""
    values, index = enlarge(grids[:GROUP], size).max(dim=0)
    for start in range(GROUP, len(grids), GROUP):
        other, place = enlarge(grids[start : start + GROUP], size).max(dim=0)
        larger = other > values
        index[larger] = place[larger] + start
        torch.maximum(values, other, out=values)
    return values, index


def _better(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Of two (value, class) maps the larger value per pixel; the lower class on ties."""
    wins = (second[0] > first[0]) | ((second[0] == first[0]) & (second[1] < first[1]))
    return torch.where(wins, second[0], first[0]), torch.where(wins, second[1], first[1])
