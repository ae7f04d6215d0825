"""Where the suite keeps what it makes once and uses often."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

from ..errors import UserError

logger = logging.getLogger(__name__)

MEND = "set OVSUITE_CACHE to a folder of yours"


def cache_dir() -> Path:
    """Folder for made data and cached features; it need not exist yet.

    ``OVSUITE_CACHE`` if set, else ``ovsuite`` below ``XDG_CACHE_HOME`` or ``~/.cache``.
    """
    if named := os.environ.get("OVSUITE_CACHE"):
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).expanduser() / "ovsuite"


@lru_cache(maxsize=1)
def stand_in_cache() -> Path:
    """Make a folder that stands for the cache of this process and is gone when it ends.

    For what has to be files when the cache folder is full, not there or not to be written.

    Raises:
        UserError: if there is no room for temporary files either.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="ovsuite-"))
    except OSError as error:
        raise UserError(
            f"{tempfile.gettempdir()}: cannot be written either ({error.strerror}); {MEND}"
        ) from error
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def cannot_be_kept(folder: Path, error: OSError, instead: str) -> str:
    """Word why a cache is done without.

    Args:
        folder: of the cache.
        error: what writing there met.
        instead: what is done.
    """
    return f"{folder}: cannot be written ({error.strerror or error}); {instead}; {MEND}"
