"""What every method of the suite shares."""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Any

# fvcore scripts functions while it is imported; the person at the keyboard can do nothing about it.
warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", category=FutureWarning)

if TYPE_CHECKING:
    from .methods.configs import list_configs, list_methods
    from .predict.predictor import Predictor

    __version__: str

__all__ = ["Predictor", "__version__", "list_configs", "list_methods"]

_HOMES = {
    "Predictor": "predict.predictor",
    "list_configs": "methods.configs",
    "list_methods": "methods.configs",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that small tools start fast."""
    if name == "__version__":  # of what is installed; it is stated in setup.cfg alone
        from importlib.metadata import version  # takes longer than a help text

        return version("ovsuite")
    if name in _HOMES:
        return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module 'ovs_core' has no attribute '{name}'")
