"""Tables of segments that grow picture by picture, and merge with what is there."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

from ..errors import UserError
from ..files.writing import atomic_text, json_text
from .annotations import ROW, Labelled, is_untouched, rows, signed

PROVENANCE = "provenance"
HEADER = [*ROW, PROVENANCE]


class TableFile:
    """CSV with a row for each segment.

    Args:
        path: the file.
        merge: keep what is there.
        about: see ``signed``.
    """

    def __init__(self, path: Path, merge: bool, about: Mapping[str, object]) -> None:
        self.path, self.merge, self.about = path, merge, about
        self.names: set[str] = set()  # of the pictures of this run

    def open(self, stack: ExitStack) -> TableFile:
        """Begin to write; the file appears when the stack is left without an error."""
        self.check_earlier()
        self._table = csv.DictWriter(
            stack.enter_context(atomic_text(self.path)), HEADER, lineterminator="\n"
        )
        self._table.writeheader()
        return self

    def add(self, one: Labelled, name: str) -> None:
        """Write the rows of a picture; each says how many there are, so that none is missed."""
        self.names.add(name)
        found = list(rows(one, name))
        for row in found:
            full = signed(row, {**self.about, "rows": len(found)}, one.made_with)
            origin = json_text(full[PROVENANCE], compact=True).rstrip()
            self._table.writerow({**row, PROVENANCE: origin})

    def finish(self) -> None:
        """Write what is kept of the earlier file.

        Raises:
            UserError: if there is something to keep, and merging was not asked for.
        """
        kept = [row for row in self._earlier if row["picture"] not in self.names or
                not is_untouched(_read(row))]  # fmt: skip
        if kept and not self.merge:
            raise UserError(
                f"{self.path}: holds {len(kept)} rows that this run does not make; keep them with "
                "--merge, or choose another --output"
            )
        self._table.writerows(kept)

    def check_earlier(self) -> None:
        """Refuse a file that nobody may replace, or that cannot be merged with.

        Raises:
            UserError: names the file.
        """
        if not self._earlier or self.merge:
            return
        counted = Counter(row["picture"] for row in self._earlier)
        read = [(_read(row), counted[row["picture"]]) for row in self._earlier]
        if not all(is_untouched(row) and _stated(row) == count for row, count in read):
            raise UserError(
                f"{self.path}: exists, and holds rows that the suite did not make or that were "
                "changed since; add to it with --merge, or choose another --output"
            )

    @cached_property
    def _earlier(self) -> list[dict[str, str]]:
        """The rows as they are; none if there is no file."""
        if not self.path.exists():
            return []
        csv.field_size_limit(2**30)  # run lengths of a large mask are longer than the usual limit
        try:
            with open(self.path, encoding="utf-8-sig", newline="") as file:
                table = csv.DictReader(file, restval="")
                columns, found = table.fieldnames, list(table)
        except (OSError, ValueError, csv.Error) as error:
            raise UserError(
                f"{self.path}: exists and cannot be read ({error}); move it away"
            ) from error
        if columns is None or not set(columns) <= set(HEADER) or any(
            None in row for row in found
        ):  # fmt: skip
            raise UserError(
                f"{self.path}: exists and has other columns than {', '.join(HEADER)}; move it away"
            )
        return [{name: row.get(name) or "" for name in HEADER} for row in found]


def _read(row: Mapping[str, str]) -> dict[str, object]:
    """Read the provenance of a row."""
    try:
        origin = json.loads(row[PROVENANCE] or "{}")
    except ValueError:
        origin = {}
    return {**row, PROVENANCE: origin}


def _stated(row: Mapping[str, object]) -> object:
    origin = row[PROVENANCE]
    return origin.get("rows") if isinstance(origin, dict) else None
