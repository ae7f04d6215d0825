"""Tables of segments that grow picture by picture, and merge with what is there."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property

from ..errors import UserError
from ..files.json_files import parse_json
from ..files.writing import atomic_text, json_text
from .annotation_contract import AnnotationFile
from .annotations import ROW, Labelled, is_untouched, rows, signed

PROVENANCE = "provenance"
HEADER = [*ROW, PROVENANCE]


class TableFile(AnnotationFile):
    """CSV with a row for each segment."""

    def open(self, stack: ExitStack) -> TableFile:
        """See ``AnnotationFile.open``."""
        self.check_earlier()
        self._table = csv.DictWriter(
            stack.enter_context(atomic_text(self.path)), HEADER, lineterminator="\n"
        )
        self._table.writeheader()
        return self

    def add(self, one: Labelled, name: str) -> None:
        """See ``AnnotationFile.add``; a row says how many there are, so that none is missed."""
        self.names.add(name)
        found = list(rows(one, name))
        for row in found:
            full = signed(row, {**self.about, "rows": len(found)}, one.made_with)
            origin = json_text(full[PROVENANCE], compact=True).rstrip()
            self._table.writerow({**row, PROVENANCE: origin})

    def finish(self) -> None:
        """See ``AnnotationFile.finish``."""
        kept = [row for row in self._earlier if row["picture"] not in self.names or
                not is_untouched(_read(row))]  # fmt: skip
        if kept and not self.merge:
            raise UserError(
                f"{self.path}: holds {len(kept)} rows that this run does not make; keep them with "
                "--merge, or choose another --output"
            )
        self._table.writerows(kept)

    def check_earlier(self) -> None:
        """See ``AnnotationFile.check_earlier``; the rows of a picture are counted too."""
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
        origin = parse_json(row[PROVENANCE] or "{}")
    except ValueError:
        origin = {}
    return {**row, PROVENANCE: origin}


def _stated(row: Mapping[str, object]) -> object:
    origin = row[PROVENANCE]
    return origin.get("rows") if isinstance(origin, dict) else None
