"""How many labels an engine or a shortcut leaves as eager float32 without one has them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import UserError
from ..runtime_rule import KEY, RuntimeRule
from ..scores import Size
from ..segmenter import Segmenter
from .install import eager


@dataclass(frozen=True)
class Agreement:
    """Labels of an engine against those of eager float32.

    Attributes:
        rule: the engine.
        pictures: how many were compared.
        share: of all pixels that have the same label.
        worst: share in the picture that agrees least.
        shortcut: what the config leaves out for speed, see ``Segmenter``; ``""`` for nothing.
    """

    rule: RuntimeRule
    pictures: int
    share: float
    worst: float
    shortcut: str = ""

    @property
    def subject(self) -> str:
        """What was compared."""
        return f"{self.rule}, {self.shortcut}" if self.shortcut else str(self.rule)

    def __str__(self) -> str:
        """Give one line for the screen."""
        return (
            f"{self.subject}: {self.share:.3%} of the labels of {self.pictures} pictures are those "
            f"of eager float32{' without it' * bool(self.shortcut)} (worst picture "
            f"{self.worst:.3%})"
        )

    @property
    def _mend(self) -> str:
        return f"value than {self.shortcut}" if self.shortcut else "ENGINE or DTYPE"

    @property
    def is_enough(self) -> bool:
        """Whether the engine may be taken."""
        return self.rule.force or self.share >= self.rule.min_agreement

    def check(self) -> None:
        """Refuse what agrees too little, unless it is forced.

        Raises:
            UserError: names the share and the keys that decide.
        """
        if not self.is_enough:
            raise UserError(
                f"{KEY}: {self}, fewer than MIN_AGREEMENT {self.rule.min_agreement:.3%}; choose "
                f"another {self._mend}, or take it with --opts {KEY}.FORCE True"
            )


@torch.no_grad()
def measure_agreement(model: Segmenter, pictures: Iterable[tuple[Tensor, Size]]) -> Agreement:
    """Label pictures with a model's engine and shortcut, and with eager float32 without one.

    Args:
        model: with words.
        pictures: (3, H', W') RGB in 0..255 as the network is shown it, and (H, W) of its labels.

    Raises:
        UserError: without a picture.
    """
    equal, pixels, worst = 0, 0, 1.0
    count = 0
    for picture, size in pictures:
        labels = model.segment(picture, size).labels()
        with eager(model):
            same = int((labels == model.segment(picture, size).labels()).sum())
        equal, pixels, count = equal + same, pixels + labels.numel(), count + 1
        worst = min(worst, same / labels.numel())
    if not count:
        raise UserError("there is no picture to compare labels on")
    return Agreement(model.runtime, count, equal / pixels, worst, model.shortcut())
