"""Which files a folder holds for us: hidden ones are never among them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path


def iter_files(
    folder: str | Path, suffixes: Sequence[str] = ("",), *, recursive: bool = False
) -> Iterator[str]:
    """Go through the files of a folder, in no order.

    Files and folders whose name begins with a dot are left out: what systems and editors put there
    (``.DS_Store``, ``._a.jpg``, ``.ipynb_checkpoints``) is nothing that a person chose.

    Args:
        folder: where to look.
        suffixes: accepted ends of the names, in small or capital letters.
        recursive: look into sub-folders too.

    Yields:
        Paths that begin with ``folder``.
    """
    ends = tuple(suffix.lower() for suffix in suffixes)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if recursive and entry.is_dir(follow_symlinks=False):
                yield from iter_files(entry.path, suffixes, recursive=True)
            elif entry.name.lower().endswith(ends) and _is_file(entry):
                yield entry.path


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file, or a link that leads nowhere: whoever reads that tells of it."""
    if entry.is_symlink() and not os.path.exists(entry.path):
        return True
    return os.path.isfile(entry.path)  # no pipe or device, whose reader would wait
