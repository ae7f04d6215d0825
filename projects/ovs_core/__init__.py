"""What every method of the suite shares."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

# fvcore scripts functions while it is imported; the person at the keyboard can do nothing about it.
warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", category=FutureWarning)

if TYPE_CHECKING:
    from .predictor import Predictor

__all__ = ["Predictor"]


def __getattr__(name: str) -> Any:
    """Import ``Predictor`` when it is first asked for, so that small tools start fast."""
    if name == "Predictor":
        from .predictor import Predictor

        return Predictor
    raise AttributeError(f"module 'ovs_core' has no attribute '{name}'")
