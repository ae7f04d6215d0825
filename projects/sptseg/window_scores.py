"""Labels of independent class probabilities, without a probability map for every class.

Letters: K classes, k of them, h x w mask grid, H x W picture.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ovs_core.modeling.label_candidates import contenders
from ovs_core.modeling.losses import enlarge
from ovs_core.modeling.scores import Scores, Size, WindowScores

GROUP = 8  # maps that are enlarged at once: they stay in the cache of a CPU core


def seen_biased(maps: Tensor, seen: Tensor, bias: float) -> Tensor:
    """Turn mask logits into probabilities and make seen classes less likely.

    Args:
        maps: (..., k, H, W) logits.
        seen: (k,) bool, which of the classes are seen.
        bias: taken off their probabilities.

    Returns:
        Maps of the same shape.
    """
    probabilities = torch.sigmoid(maps)
    return probabilities.sub_(bias * seen[:, None, None]) if bias else probabilities


class ProbabilityWindows(Scores):
    """Windows whose masks are compared as probabilities, less a constant on seen classes.

    Args:
        logits: of the windows.
        seen: (K,) bool.
        bias: taken off the probabilities of seen classes.
    """

    def __init__(self, logits: WindowScores, seen: Tensor, bias: float) -> None:
        self.logits, self.seen, self.bias = logits, seen, bias
        self.num_classes, self.size = logits.num_classes, logits.size

    def classes(self, which: slice) -> Tensor:
        """Average the probabilities of a range of classes over the windows."""
        return self.logits.merge(which, self._probabilities)

    def labels(self) -> Tensor:
        """Give the best class per pixel: (H, W) int64, lowest index on ties.

        The sigmoid does not change the order of classes that carry the same bias. Where one window
        is the whole picture, the best seen and the best unseen class are therefore found among the
        logits, and two maps of probabilities remain to be compared.
        """
        if not self._is_one_window():
            return super().labels()
        sides = [
            self._best_of(group.nonzero()[:, 0], bias)
            for group, bias in ((self.seen, self.bias), (~self.seen, 0.0))
            if group.any()
        ]
        return sides[0][1] if len(sides) == 1 else _better(*sides)[1]

    def _is_one_window(self) -> bool:
        windows = self.logits
        covered = len(windows.windows) == 1 and windows.boxes[0] == (0, 0, *self.size)
        return covered and windows.canvas == self.size and windows.whole is None

    def _best_of(self, classes: Tensor, bias: float) -> tuple[Tensor, Tensor]:
        """Largest probability among ``classes`` per pixel, less ``bias``, and whose it is."""
        grids = self.logits.windows[0][classes].float()
        if (names := contenders(grids, self.size)) is not None:
            grids, classes = grids[names], classes[names]
        logits, index = _maximum(grids, self.size)
        return torch.sigmoid_(logits).sub_(bias), classes[index]

    def _probabilities(self, maps: Tensor, size: Size, which: slice) -> Tensor:
        return seen_biased(enlarge(maps.float(), size), self.seen[which], self.bias)


def _maximum(grids: Tensor, size: Size) -> tuple[Tensor, Tensor]:
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
