"""Reference vectors of published implementations, computed by this suite's code.

A subpackage per method; importing it registers its runners with ``runner``.
"""

from __future__ import annotations

import importlib
import pkgutil


def import_all_runners() -> None:
    """Import every subpackage, so that ``runner.methods()`` lists all."""
    for package in pkgutil.iter_modules(__path__):
        if package.ispkg:
            importlib.import_module(f"{__name__}.{package.name}")
