"""Writing files so that a reader never meets half of one."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Lend a temporary path beside ``path`` that takes its place when the block ends well.

    The data reach the disk before the name does. If the block raises, the old file stays.

    Args:
        path: the final file; missing folders above it are made.

    Yields:
        Path to write to, with the same suffix.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.stem}.", suffix=f".part{path.suffix}"
    )
    os.close(handle)
    part = Path(name)
    try:
        part.chmod(0o666 & ~_umask())  # mkstemp makes files that only the owner reads
        yield part
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def atomic_write(path: str | Path, content: bytes | str) -> None:
    """Write a file in one step.

    Args:
        path: the final file.
        content: bytes, or text that is stored as UTF-8.
    """
    with atomic_path(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def check_output_dir(path: str | Path) -> Path:
    """Make a folder and make sure that files can be written into it.

    Args:
        path: the folder.

    Returns:
        The folder.

    Raises:
        UserError: if it cannot be made or written to.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{folder}: cannot write into this folder ({error.strerror}); choose another one"
        ) from error
    return folder


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
