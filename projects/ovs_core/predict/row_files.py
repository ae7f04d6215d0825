"""Results of a block of pictures as rows of a Parquet file: a row per picture, masks as COCO's RLE.

A file is written in one step when its block is done. A row that is whole and up to date is kept
when the block is made again; a picture that gave none has a row with its error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..files.extras import needed
from ..files.writing import atomic_path
from .containers import refuse_types
from .parts import MAKER
from .reading import Input

if TYPE_CHECKING:
    from .result import Result

Row = dict[str, Any]
_SEGMENT = (
    "name", "index", "id", "is_thing", "is_background", "area", "bbox", "iscrowd", "segmentation",
)  # fmt: skip
_MADE_BY = {b"made_by": MAKER.encode()}


class RowFile:
    """The results of a block, in the place of the files of each picture.

    Args:
        path: the file.
        overwrite: make all rows anew, and replace a file that the suite did not make.

    Raises:
        UserError: if the file was not made by the suite, or pyarrow is not installed.
    """

    def __init__(self, path: Path, overwrite: bool) -> None:
        needed("pyarrow", "ray")
        self._path, self._overwrite = path, overwrite
        self._rows: dict[str, Row] = {}
        self._earlier = {row["picture"]: row for row in self._read()}

    def stale(self, one: Input, made_with: Mapping[str, str]) -> str:
        """Say why a picture has no finished row, see ``SavedResult.stale``; keep it if it has."""
        row = self._earlier.get(one.identity)
        if row is None or self._overwrite:
            return "overwritten" if self._overwrite else "new"
        if row["error"]:
            return "an error"
        changed = [what for what, value in made_with.items() if row["made_with"][what] != value]
        if not changed:
            self._rows[one.identity] = row
        return f"other {' and '.join(changed)}" if changed else ""

    def save(self, one: Input, result: Result) -> None:
        """Take the row of a result."""
        from .annotations import instances

        labelled = result.labelled
        contents = (content for _, content in instances(labelled, polygons=False))
        merged = [
            {**segment, **content}
            for segment, content in zip(labelled.segments, contents, strict=True)
        ]
        height, width = labelled.numbers.shape
        self._rows[one.identity] = {
            "picture": one.identity, "stem": one.stem, "height": height, "width": width,
            "segments": [{key: segment[key] for key in _SEGMENT} for segment in merged],
            "notes": list(result.notes), "made_with": dict(result.made_with), "error": None,
        }  # fmt: skip

    def fail(self, one: Input, line: str) -> None:
        """Take the row of a picture that gave no result."""
        self._rows[one.identity] = {
            "picture": one.identity, "stem": one.stem, "height": None, "width": None,
            "segments": None, "notes": None, "made_with": None, "error": line,
        }  # fmt: skip

    def finish(self) -> None:
        """Write the file, unless it holds these rows already.

        Raises:
            OSError: if it cannot be written.
        """
        import pyarrow
        from pyarrow import parquet

        rows = [self._rows[name] for name in sorted(self._rows)]
        if self._path.exists() and rows == list(self._earlier.values()):
            return
        with atomic_path(self._path) as part:
            parquet.write_table(pyarrow.Table.from_pylist(rows, schema=self._schema), part)

    def _read(self) -> list[Row]:
        """Rows of an earlier run; none if the file is not there, or not whole."""
        from pyarrow import ArrowException, parquet

        if not self._path.exists():
            return []
        try:
            with open(self._path, "rb") as file:
                refuse_types(self._path, file)
                table = parquet.ParquetFile(file).read()
        except (ArrowException, OSError) as error:
            table, problem = None, error
        if table is not None and self._is_own(table.schema):
            rows: list[Row] = table.to_pylist()
            return rows
        if self._overwrite:
            return []
        why = "was not made by the suite" if table is not None else f"cannot be read ({problem})"
        raise UserError(f"{self._path}: exists and {why}; move it away, or give --overwrite")

    def _is_own(self, schema: Any) -> bool:
        stated = schema.metadata or {}
        return schema.names == self._schema.names and _MADE_BY.items() <= stated.items()

    @cached_property
    def _schema(self) -> Any:
        import pyarrow as pa

        text, whole = pa.string(), pa.int32()
        mask = pa.struct({"size": pa.list_(whole), "counts": text})
        kinds = (text, whole, whole, pa.bool_(), pa.bool_(), pa.int64(), pa.list_(whole), whole)
        segment = pa.struct(dict(zip(_SEGMENT, (*kinds, mask), strict=True)))
        hashes = pa.struct(dict.fromkeys(("config", "weights", "words", "picture"), text))
        fields = {
            "picture": text, "stem": text, "height": whole, "width": whole,
            "segments": pa.list_(segment), "notes": pa.list_(text), "made_with": hashes,
            "error": text,
        }  # fmt: skip
        return pa.schema(fields, metadata=_MADE_BY)


def block_file(folder: Path, number: int) -> Path:
    """Where the rows of a block go."""
    return folder / f"segments-{number:06d}.parquet"


def remove_later_blocks(folder: Path, count: int) -> None:
    """Remove the files of blocks that a run has no more, as there were more pictures once."""
    number = count
    while (path := block_file(folder, number)).exists():
        with contextlib.suppress(UserError):
            RowFile(path, overwrite=False)  # else somebody else's
            path.unlink()
        number += 1
