"""How a prediction over words becomes a prediction with a background class.

Letters: C classes, H x W pixels.

* ``none``: no background; it is ignored in the ground truth.
* ``last_class``: classes 0..C-2, then any number of background words; all of these become C-1.
* ``first_class``: class 0 is the background; it may have many words, the best of which counts.
  What makes unsure pixels class 0 is the model's (``modeling/score_thresholds.py``).
"""

from __future__ import annotations

from torch import Tensor

from ..errors import check_choice

RULES = ("none", "last_class", "first_class")


def check_rule(rule: str | None) -> str:
    """Give the rule's name, ``none`` for None.

    Raises:
        UserError: if there is no such rule.
    """
    if rule is None:
        return "none"
    check_choice("background_rule", rule, RULES)
    return rule


def fold_last_class(labels: Tensor, background: int) -> Tensor:
    """Turn every label from ``background`` on into ``background``.

    Args:
        labels: (H, W) integers.
        background: index of the background class, the last one.

    Returns:
        (H, W) integers.
    """
    return labels.clamp(max=background)
