"""One process at a time in a folder that is written to."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from filelock import BaseFileLock, FileLock, Timeout

from ..errors import UserError
from .writing import check_output_dir, write_json

logger = logging.getLogger(__name__)

PATIENCE = 2.0  # seconds of waiting before a person is told for whom
LOCK, HOLDER = ".ovsuite.lock", ".ovsuite.holder.json"


@contextlib.contextmanager
def hold_folder(folder: str | Path, purpose: str) -> Iterator[Path]:
    """Keep other processes that ask for it out of a folder while the block runs.

    The operating system lets go of the lock when its holder ends, however it ends, so what a killed
    process held can be taken at once. On network file systems this needs one that knows ``flock``,
    as NFS 4 does.

    Args:
        folder: is made if it does not exist.
        purpose: what it is held for, in a word or two; shown to whoever is kept out.

    Yields:
        The folder.

    Raises:
        UserError: if another process holds it (its host, number and purpose are named), or if it
            cannot be written.
    """
    folder = check_output_dir(folder)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(
            f"{folder}: {_holder(folder)} is at work here; wait for it, or choose another folder"
        ) from error
    except (OSError, NotImplementedError) as error:
        raise UserError(
            f"{folder}: cannot be locked ({error}); choose a folder on another disk"
        ) from error
    with _held(lock, folder, purpose):
        yield folder


@contextlib.contextmanager
def wait_for_folder(folder: Path, purpose: str) -> Iterator[Path]:
    """Hold a folder as ``hold_folder`` does, but wait for another process that holds it.

    Args:
        folder: is made if it does not exist.
        purpose: see ``hold_folder``.

    Yields:
        The folder.

    Raises:
        OSError: if it cannot be written or locked.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        logger.warning("%s: waiting for %s, which is at work here", folder, _holder(folder))
        lock.acquire()
    except NotImplementedError as error:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK), str(folder)) from error
    with _held(lock, folder, purpose):
        yield folder


@contextlib.contextmanager
def _held(lock: BaseFileLock, folder: Path, purpose: str) -> Iterator[None]:
    try:
        write_json(folder / HOLDER, _myself(purpose))
        yield
    finally:
        (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def _myself(purpose: str) -> dict[str, str | int]:
    return {
        "purpose": purpose,
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _holder(folder: Path) -> str:
    """Describe the process that holds a folder, as far as it has said."""
    try:
        stated = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return "{purpose} of process {process} on {host} since {since}".format(**stated)
    except (OSError, ValueError, KeyError, TypeError):  # it has just begun, or is about to end
        return "another process"
