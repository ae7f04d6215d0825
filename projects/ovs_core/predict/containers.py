"""Files that hold many pictures: WebDataset shards (``.tar``) and Parquet files.

Nothing is unpickled. Of a shard, members with pickled objects are refused; of a Parquet file, types
that a library would have to build.
"""

from __future__ import annotations

import base64
import binascii
import re
import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, Any, NamedTuple

from ..errors import UserError
from ..files.addresses import Place, open_place
from ..files.extras import needed
from ..files.pictures import SUFFIXES as PICTURES

TAR, PARQUET = ".tar", ".parquet"
_PICKLED = (".pkl", ".pickle", ".pyd", ".pth", ".pt", ".npz")
_ROWS = 16  # of a Parquet file that are read at a time
_TEXT = re.compile(rb"[A-Za-z0-9+/]{24,}={0,2}")


class Member(NamedTuple):
    """A picture in a file.

    Attributes:
        name: what it is called there.
        stem: of its results.
        data: the picture as a file holds it.
        error: why there is none.
    """

    name: str
    stem: str
    data: bytes = b""
    error: Exception | None = None


def read_members(place: Place) -> Iterator[Member]:
    """Go through the pictures of a file, in its order, each read when its turn comes.

    Args:
        place: a WebDataset shard, or a Parquet file with a column of encoded pictures: bytes, or
            ``bytes`` in a struct, as ``datasets`` writes them.

    Raises:
        UserError: if the file cannot be read (on).
    """
    with open_place(place) as file:
        try:
            yield from (_tar if str(place).lower().endswith(TAR) else _parquet)(place, file)
        except (tarfile.TarError, EOFError) as error:
            raise UserError(f"{place}: cannot be read on as a .tar file ({error})") from error


def _tar(place: Place, file: IO[bytes]) -> Iterator[Member]:
    stems: set[str] = set()
    pickled = ""
    with tarfile.open(fileobj=file, mode="r|") as shard:
        for member in shard:
            path = PurePosixPath(member.name)
            kind = path.suffix.lower()
            if not member.isfile() or path.name.startswith("."):
                continue
            if kind in _PICKLED and not pickled:
                pickled = member.name
                yield Member(pickled, path.name, error=_refusal(place, pickled))
            if kind in PICTURES:
                yield _picture(place, shard, member, stems)


def _refusal(place: Place, name: str) -> UserError:
    return UserError(
        f"{place}#{name}: holds pickled Python objects, which could run code, so this and its like "
        "are not read; the pictures beside it are"
    )


def _picture(
    place: Place, shard: tarfile.TarFile, member: tarfile.TarInfo, stems: set[str]
) -> Member:
    path = PurePosixPath(member.name)
    stem = str(path.with_suffix(""))
    stem = stem if stem not in stems else str(path).replace(".", "_")  # a.jpg beside a.png
    if path.is_absolute() or ".." in path.parts or stem in stems:
        what = "is there twice" if stem in stems else "leads out of the folder"
        return Member(member.name, path.stem, error=UserError(f"{place}#{member.name}: {what}"))
    stems.add(stem)
    data = shard.extractfile(member)
    return Member(member.name, stem, b"" if data is None else data.read())


def _parquet(place: Place, file: IO[bytes]) -> Iterator[Member]:
    refuse_types(place, file)
    needed("pyarrow", "ray")
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(file)
        column = _picture_column(place, table.schema_arrow)
        number = 0
        for batch in table.iter_batches(batch_size=_ROWS, columns=[column]):
            for value in batch.column(0).to_pylist():
                data = value.get("bytes") if isinstance(value, dict) else value
                yield Member(f"{number}", f"{number:06d}", data or b"")
                number += 1
    except (pyarrow.ArrowException, OSError) as error:
        what = " ".join(str(error).split())
        raise UserError(f"{place}: cannot be read as a Parquet file ({what})") from error


def _picture_column(place: Place, schema: Any) -> str:
    """The column of bytes; of several that which is called ``image``."""
    import pyarrow.types as kinds

    def holds_bytes(kind: Any) -> bool:
        if kinds.is_struct(kind):
            return kind.get_field_index("bytes") >= 0 and holds_bytes(kind.field("bytes").type)
        return bool(kinds.is_binary(kind) or kinds.is_large_binary(kind))

    found = [field.name for field in schema if holds_bytes(field.type)]
    if len(found) != 1 and "image" not in found:
        raise UserError(
            f"{place}: {len(found)} of its columns hold bytes ({', '.join(found) or 'none'}); the "
            "one with the encoded pictures must be alone, or be called image"
        )
    return str(found[0] if len(found) == 1 else "image")


def refuse_types(place: Place, file: IO[bytes]) -> None:
    """Refuse types of libraries, before pyarrow opens the file.

    Whoever has registered such a type, as Ray has, is handed what the file says of it.

    Args:
        place: the file, for the message.
        file: opened.

    Raises:
        UserError: if there is one.
    """
    file.seek(0, 2)
    size = file.tell()
    file.seek(max(0, size - 8))
    length = int.from_bytes(file.read(4), "little")
    file.seek(max(0, size - 8 - length))
    for text in _TEXT.findall(file.read(length)):
        whole = text.rstrip(b"=")[: len(text.rstrip(b"=")) // 4 * 4]
        try:
            stated = base64.b64decode(whole)
        except binascii.Error:
            continue
        if b"ARROW:extension:name" in stated:
            raise UserError(
                f"{place}: has columns of types that a library has to build, which could run code; "
                "write the pictures as plain bytes"
            )
    file.seek(0)
