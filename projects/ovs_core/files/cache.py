"""Where the suite keeps what it makes once and uses often."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Folder for made data and cached features; it need not exist yet.

    ``OVSUITE_CACHE`` if set, else ``ovsuite`` below ``XDG_CACHE_HOME`` or ``~/.cache``.
    """
    if named := os.environ.get("OVSUITE_CACHE"):
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).expanduser() / "ovsuite"
