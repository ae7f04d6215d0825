"""Packages that only some parts need, imported where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType

from ..errors import UserError


def needed(package: str, extra: str) -> ModuleType:
    """Import a package of an extra.

    Raises:
        UserError: names the command that installs it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UserError(f"this needs the package {package}; pip install -e '.[{extra}]'") from error
