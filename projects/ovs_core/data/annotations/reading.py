"""Reading an annotation file, and one line for all that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ...errors import UserError
from ..sources import read_json
from .schema import FORMS, PictureSchema

AnyFile = TypeVar("AnyFile", bound=PictureSchema)

SHOWN = 10  # faults that a message quotes; the rest is counted


def read_annotations(path: Path, schema: type[AnyFile]) -> AnyFile:
    """Read an annotation file and check every entry.

    Args:
        path: JSON file.
        schema: what it must hold.

    Raises:
        UserError: names the first ten wrong entries and fields.
    """
    content = read_json(path)
    try:
        found = schema.model_validate(content)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise UserError(_text(path, [_line(d) for d in details[:SHOWN]], len(details))) from None
    refuse_faults(path, found.faults())
    return found


def refuse_faults(path: Path, faults: Iterable[str]) -> None:
    """Refuse a file that has faults.

    Args:
        path: of the file.
        faults: one text each, which begins with the entry and the field.

    Raises:
        UserError: quotes the first ten.
    """
    rest = iter(faults)
    shown = list(islice(rest, SHOWN))
    if shown:
        raise UserError(_text(path, shown, len(shown) + sum(1 for _ in rest)))


def _text(path: Path, shown: Sequence[str], count: int) -> str:
    more = f"; ... and {count - len(shown)} more" if count > len(shown) else ""
    return f"{path}: {'; '.join(shown)}{more}"


def _line(detail: ErrorDetails) -> str:
    """One fault as ``annotations[0].bbox[2]: input should be ..., not 'a'``."""
    where = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}"
        for part in detail["loc"]
        if part not in FORMS
    ).lstrip(".")
    if detail["type"] == "missing":
        return f"{where}: is missing"
    cause = detail.get("ctx", {}).get("error")
    what = str(cause) if cause else detail["msg"].replace("Input should", "should", 1)
    return f"{where or 'the file'}: {what}, not {_short(detail['input'])}"


def _short(value: object) -> str:
    if isinstance(value, (list, dict)):
        kind = "list" if isinstance(value, list) else "object"
        return f"a {kind} of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 64:
        return "a huge number"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
