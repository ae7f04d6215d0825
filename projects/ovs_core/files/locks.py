"""Who may write into a folder: one process at a time, or several that share its work.

Whoever has a folder to itself holds its lock all the time. Of those that share it, each holds the
lock of its part, and that of the folder only while it comes, goes or looks around.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import socket
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import UserError
from .json_files import parse_json
from .shards import Shard
from .writing import check_output_dir, write_json

logger = logging.getLogger(__name__)

PATIENCE = 2.0  # seconds of waiting before a person is told for whom
DOOR_PATIENCE = 30.0  # seconds in which hundreds of shards come one after the other
_LOOK_AGAIN = 0.1  # seconds
LOCK, HOLDER = ".ovsuite.lock", ".ovsuite.holder.json"
_SHARD_LOCK = re.compile(r"\.ovsuite\.(\d+)-of-(\d+)\.lock")


@contextlib.contextmanager
def hold_folder(folder: str | Path, purpose: str, patience: float = 0.0) -> Iterator[Path]:
    """Keep other processes that ask for it out of a folder while the block runs.

    The operating system lets go of the lock when its holder ends, however it ends, so what a killed
    process held can be taken at once. On network file systems this needs one that knows ``flock``,
    as NFS 4 does.

    Args:
        folder: is made if it does not exist.
        purpose: what it is held for, in a word or two; shown to whoever is kept out.
        patience: seconds for processes that share its work to end, such as those that a killed
            process has started.

    Yields:
        The folder.

    Raises:
        UserError: if another process holds it (its host, number and purpose are named), or if it
            cannot be written.
    """
    folder = check_output_dir(folder)
    with _locked(folder / LOCK, folder / HOLDER, timeout=0):
        patient_until = time.monotonic() + patience
        while shards_at_work(folder) and time.monotonic() < patient_until:
            time.sleep(_LOOK_AGAIN)
        for _, holder in sorted(shards_at_work(folder).items()):
            raise UserError(_is_at_work(folder, holder))
        with _named(folder / HOLDER, purpose):
            yield folder


@contextlib.contextmanager
def at_the_door(folder: Path) -> Iterator[None]:
    """Let no other process come into a shared folder, or look who is there, while the block runs.

    Args:
        folder: that exists.

    Raises:
        UserError: if another process has the folder to itself, or it cannot be locked.
    """
    with _locked(folder / LOCK, folder / HOLDER, DOOR_PATIENCE):
        yield


@contextlib.contextmanager
def hold_shard(folder: Path, purpose: str, shard: Shard) -> Iterator[None]:
    """Hold one part of the work in a folder; to be called ``at_the_door``.

    Args:
        folder: that exists.
        purpose: see ``hold_folder``.
        shard: the part.

    Raises:
        UserError: if another process holds it, or parts of another count are at work.
    """
    for other, holder in shards_at_work(folder).items():
        if other.count != shard.count:
            raise UserError(_is_at_work(folder, f"shard {other}, {holder},"))
    lock, told = _shard_files(folder, shard)
    with _locked(lock, told, timeout=0), _named(told, f"{purpose} (shard {shard})"):
        yield


@contextlib.contextmanager
def hold_free_shard(folder: Path, purpose: str, count: int) -> Iterator[Shard]:
    """Hold a part of the work in a folder that nobody holds, on behalf of who holds the folder.

    Args:
        folder: that exists.
        purpose: see ``hold_folder``.
        count: of the parts; of those that are held, one is waited for.

    Yields:
        The part.

    Raises:
        UserError: if all parts are held by other processes, and stay so.
    """
    patient_until = time.monotonic() + DOOR_PATIENCE
    while (held := _hold_first_free(folder, count)) is None:
        if time.monotonic() > patient_until:
            raise UserError(_is_at_work(folder, ", ".join(shards_at_work(folder).values())))
        time.sleep(_LOOK_AGAIN)
    part, lock = held
    try:
        with _named(_shard_files(folder, part)[1], f"{purpose} (worker {part})"):
            yield part
    finally:
        lock.release()


def _hold_first_free(folder: Path, count: int) -> tuple[Shard, FileLock] | None:
    for number in range(count):
        part = Shard(number + 1, count)
        lock = FileLock(_shard_files(folder, part)[0])
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        except (OSError, NotImplementedError) as error:
            raise _cannot_be_locked(folder, error) from error
        return part, lock
    return None


def shards_at_work(folder: Path) -> dict[Shard, str]:
    """Which parts of the work in a folder are held now, and by whom; to be called ``at_the_door``.

    Args:
        folder: that exists.
    """
    found: dict[Shard, str] = {}
    for path in folder.glob(".ovsuite.*.lock"):
        if match := _SHARD_LOCK.fullmatch(path.name):
            shard, lock = Shard(int(match[1]), int(match[2])), FileLock(path)
            try:
                lock.acquire(timeout=0)
                lock.release()
            except Timeout:
                found[shard] = _holder(_shard_files(folder, shard)[1])
    return found


def find_holders(folder: Path) -> list[str]:
    """Say who is at work in a folder, each process in words; nobody is kept out by looking.

    Args:
        folder: that exists.

    Raises:
        UserError: if it cannot be locked.
    """
    whole = FileLock(folder / LOCK)
    try:
        whole.acquire(timeout=PATIENCE)
    except Timeout:
        return [_holder(folder / HOLDER)]
    except (OSError, NotImplementedError) as error:
        raise _cannot_be_locked(folder, error) from error
    try:
        return [holder for _, holder in sorted(shards_at_work(folder).items())]
    finally:
        whole.release()


def _shard_files(folder: Path, shard: Shard) -> tuple[Path, Path]:
    stem = f".ovsuite.{shard.number}-of-{shard.count}"
    return folder / f"{stem}.lock", folder / f"{stem}.holder.json"


@contextlib.contextmanager
def _locked(path: Path, told: Path, timeout: float) -> Iterator[None]:
    """Hold a lock, or say who does, as it has told in a file."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=timeout)
    except Timeout as error:
        raise UserError(_is_at_work(path.parent, _holder(told))) from error
    except (OSError, NotImplementedError) as error:
        raise _cannot_be_locked(path.parent, error) from error
    try:
        yield
    finally:
        lock.release()


def _cannot_be_locked(folder: Path, error: Exception) -> UserError:
    return UserError(f"{folder}: cannot be locked ({error}); choose a folder on another disk")


def _is_at_work(folder: Path, holder: str) -> str:
    return f"{folder}: {holder} is at work here; wait for it, or choose another folder"


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
        logger.warning(
            "%s: waiting for %s, which is at work here", folder, _holder(folder / HOLDER)
        )
        lock.acquire()
    except NotImplementedError as error:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK), str(folder)) from error
    try:
        with _named(folder / HOLDER, purpose):
            yield folder
    finally:
        lock.release()


@contextlib.contextmanager
def _named(told: Path, purpose: str) -> Iterator[None]:
    """Tell in a file who holds the lock beside it."""
    try:
        write_json(told, _myself(purpose))
        yield
    finally:
        told.unlink(missing_ok=True)


def _myself(purpose: str) -> dict[str, str | int]:
    return {
        "purpose": purpose,
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _holder(told: Path) -> str:
    """Describe the process that holds a lock, as far as it has said."""
    try:
        stated = parse_json(told.read_text(encoding="utf-8"))
        return "{purpose} of process {process} on {host} since {since}".format(**stated)
    except (OSError, ValueError, KeyError, TypeError):  # it has just begun, or is about to end
        return "another process"
