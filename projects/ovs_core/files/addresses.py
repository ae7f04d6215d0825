"""Files that lie elsewhere: ``s3://bucket/photo.jpg`` and its like, opened with fsspec."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TypeAlias

from ..errors import UserError, check_choice

Place: TypeAlias = "Path | str"  # a file of this machine, or an address
# Stores of files. What fsspec also knows, such as references and caches, would read what says how
# to read, and there the files could say too much.
SCHEMES = (
    "abfs", "abfss", "adl", "az", "file", "ftp", "gcs", "gs", "hdfs", "hf", "http", "https",
    "memory", "oci", "oss", "s3", "s3a", "sftp", "webhdfs",
)  # fmt: skip
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def is_remote(place: str | Path) -> bool:
    """Whether a text is an address, and no path of this machine."""
    return isinstance(place, str) and _ADDRESS.match(place) is not None


def to_place(text: str) -> Place:
    """Read what a person has typed: an address stays a text."""
    return text if is_remote(text) else Path(text)


def absolute(place: str | Path) -> str:
    """Give the whole path; an address is whole."""
    return str(place) if is_remote(place) else str(Path(place).resolve())


@contextlib.contextmanager
def open_place(place: Place) -> Iterator[IO[bytes]]:
    """Open a file of this machine or elsewhere.

    Raises:
        UserError: if it cannot be opened, or whatever fails elsewhere while it is read.
    """
    if not isinstance(place, str):
        try:
            file = open(place, "rb")
        except OSError as error:
            raise UserError(f"{place}: cannot be read ({error.strerror})") from error
        with file:
            yield file
        return
    with _told(place):
        import fsspec

        with fsspec.open(place, "rb") as there:
            yield there


def read_place(place: Place) -> bytes:
    """Give all that a file holds; see ``open_place``."""
    with open_place(place) as file:
        return file.read()


def list_address(address: str, suffixes: Sequence[str]) -> list[str]:
    """Find what an address stands for: a file, the files of a folder, or those of a pattern.

    Args:
        address: may hold ``*``, ``?`` and ``[...]``.
        suffixes: of the files that are taken from a folder, in small letters.

    Returns:
        Addresses, in order of their names.

    Raises:
        UserError: if it cannot be asked for, or nothing is there.
    """
    with _told(address):
        import fsspec

        there, path = fsspec.core.url_to_fs(address)
        if re.search(r"[*?\[]", path):
            names = there.glob(path)
        elif there.isdir(path):
            found = there.ls(path, detail=True)
            names = [one["name"] for one in found if one["type"] == "file"]
            names = [name for name in names if _is_wanted(name, suffixes)]
        else:
            return [address]
        if not names:
            raise UserError(f"{address}: no such files, or a folder without pictures")
        return [there.unstrip_protocol(name) for name in sorted(names)]


def _is_wanted(name: str, suffixes: Sequence[str]) -> bool:
    """As of folders of this machine: what begins with a dot nobody has chosen."""
    return name.lower().endswith(tuple(suffixes)) and not name.rsplit("/", 1)[-1].startswith(".")


@contextlib.contextmanager
def _told(address: str) -> Iterator[None]:
    """Turn whatever goes wrong with an address into one line."""
    scheme = _ADDRESS.match(address)
    if scheme is None or "::" in address:
        raise UserError(f"{address}: is no plain address such as s3://bucket/folder")
    check_choice(f"scheme of {address}", scheme[1].lower(), SCHEMES)
    try:
        yield
    except UserError:
        raise
    except ImportError as error:  # fsspec says which package it wants
        raise UserError(f"{address}: needs another package ({error}); pip install it") from error
    except Exception as error:  # every store has errors of its own
        what = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{address}: cannot be read ({what})") from error
