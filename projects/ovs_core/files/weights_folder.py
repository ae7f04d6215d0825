"""The folder that every command looks for weights in."""

from __future__ import annotations

import os
from pathlib import Path

from .cache import cache_dir

VARIABLE = "OVS_WEIGHTS"


def weights_folder() -> Path:
    """Folder of downloaded weights; it need not exist.

    ``OVS_WEIGHTS`` if set, else ``weights`` in the cache folder.
    """
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser()
    return cache_dir() / "weights"


def find_in_weights_folder(name: str | Path) -> Path:
    """Give a file or folder that exists as named, else the one of that name in the weights folder.

    Args:
        name: path; one that is absolute, or leads out of the folder by ``..``, is left as it is.

    Returns:
        The path as named if there is neither.
    """
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or path.exists():
        return path
    found = weights_folder() / path
    return found if str(name) and found.exists() else path
