"""From what a person types, or keeps in a file, to single names: the one parser of words.

Names stand between commas (Latin, full-width, Arabic or ideographic), on lines of their own, or in
a JSON list. A ``#`` at the beginning of a line or behind a blank starts a comment, quotes keep a
comma inside a name, and a line may end in commas. Semicolons and tabs separate too, and a note says
so. What a name holds (``a|b``, ``background: a``) is read by ``vocabulary.py``.
"""

from __future__ import annotations

import os
import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from ..files.json_files import parse_json

FILE_SUFFIXES = (".txt", ".csv", ".json")
COMMAS = ",，،、﹐"  # noqa: RUF001  (these are the point)
SOFT = ";；؛\t"  # noqa: RUF001  (separate, but are told of)
_COMMENT = re.compile(r"(^|\s)#.*")
_TAIL = string.whitespace + COMMAS + SOFT
_NAME = re.compile(rf'\s*(?:"((?:[^"]|"")*)"\s*|([^{COMMAS}{SOFT}]*))(?:([{COMMAS}{SOFT}])|$)')
_NUMBER = re.compile(r"[-+]?\d+([.]\d+)?")
_HEADS = ("name", "names", "class", "classes", "label", "labels", "category", "categories", "id")
_IN_ONE = ("\n", *COMMAS, *SOFT)  # hint at several names in one
_IN_ALL = ("/", "\\n", "&", "+", " and ", *_IN_ONE)  # likewise, where there is no other name


class Names(NamedTuple):
    """Names as they were written.

    Attributes:
        names: each as it stood between separators.
        notes: how what could be read in two ways was read.
    """

    names: list[str]
    notes: tuple[str, ...] = ()


def split_text(text: str) -> Names:
    """Find the names in a text; see the head of this file.

    Raises:
        UserError: for a JSON list that is none, or holds more than names.
    """
    text = text.replace("\ufeff", "")
    if _looks_like_json(text.strip()):
        return _from_json(text)
    names: list[str] = []
    separators: set[str] = set()
    for line in text.splitlines():
        found, between = _split_line(line)
        names += found
        separators |= between & set(SOFT)
    notes = [_separator_note(mark, names) for mark in sorted(separators)]
    hints = _IN_ALL if len(names) == 1 else _IN_ONE
    return Names(names, (*notes, *_name_notes(names, hints)))


def check_list(words: object) -> Names:
    """Take a list of names as it is.

    Raises:
        UserError: for anything else.
    """
    if words is None:
        raise UserError("no words were given; give names, such as 'car, tree, sky'")
    if isinstance(words, (bytes, dict, set, frozenset)):
        raise UserError(f"words are a {type(words).__name__}; give a list, whose order is kept")
    try:
        names = list(words)  # type: ignore[call-overload]
    except TypeError as error:
        raise UserError(f"words are {words!r}; give a list of names, a text or a file") from error
    return Names(names, _name_notes([name for name in names if isinstance(name, str)], _IN_ONE))


def read_word_file(path: str | Path) -> Names:
    """Read the names of a file.

    Raises:
        UserError: names the file.
    """
    text = _read(path)
    try:
        return _from_json(text) if _is_json(path) else split_text(text)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def read_class_file(path: str | Path) -> Names:
    """Read the names of a file whose places are label values.

    One name per line, or all names on one line, or a JSON list. Nothing is left out silently, as
    all classes behind it would move.

    Raises:
        UserError: names the file and the line: a blank or a comment in front of the last name, a
            line of several names among others.
    """
    text = _read(path).replace("\ufeff", "")
    if _is_json(path) or text.lstrip().startswith("["):
        return read_word_file(path)
    lines = [_COMMENT.sub("", line).strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    if len(lines) == 1:
        return read_word_file(path)
    names = [_only_name(f"{path}: line {number}", line) for number, line in enumerate(lines, 1)]
    return Names(names, _name_notes(names, _IN_ONE))


def _only_name(where: str, line: str) -> str:
    try:
        names, _ = _split_line(line)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    if not names:
        raise UserError(
            f"{where} holds no name, but each line names the class of one label value, and those "
            "below would move; remove it, or write 'unused' there"
        )
    if len(names) > 1:
        raise UserError(
            f"{where} holds {len(names)} names ({line}), the others one; write synonyms as a|b, "
            "put a name with a comma in quotes, or give each a line"
        )
    return names[0]


def names_a_file(text: str) -> bool:
    """Whether a person's text is the path of a word file: by its end, or by a separator in it."""
    if text.strip().lower().endswith(FILE_SUFFIXES):
        return os.path.isfile(text) or not any(mark in text for mark in f"\n{COMMAS}{SOFT}")
    return any(mark and mark in text for mark in (os.sep, os.altsep)) and os.path.isfile(text)


def _split_line(line: str) -> tuple[list[str], set[str]]:
    """Names of a line, and the separators between them."""
    line = _COMMENT.sub("", line).rstrip(_TAIL)
    names: list[str] = []
    separators: set[str] = set()
    place: int | None = 0 if line.strip() else None
    while place is not None and (match := _NAME.match(line, place)):
        names.append(_bare(match[2]) if match[1] is None else match[1].replace('""', '"'))
        place = match.end() if match[3] else None
        separators |= {match[3]} - {None}
    return names, separators


def _bare(name: str) -> str:
    """A name without quotes around it."""
    name = name.strip()
    if name.startswith('"'):
        raise UserError(f"a quote opens the name '{name[:60]}' but does not end it; remove it")
    return name


def _from_json(text: str) -> Names:
    try:
        content = parse_json(text)
    except ValueError as error:
        raise UserError(
            f'this is no JSON list of names, such as ["car", "sky"] ({error})'
        ) from error
    if not isinstance(content, list):
        kind = type(content).__name__
        raise UserError(f'holds a {kind} where a list of names is expected, ["car", "sky"]')
    return check_list(content)


def _looks_like_json(text: str) -> bool:
    return text.startswith("[") and (text.endswith("]") or text[1:].lstrip().startswith('"'))


def _is_json(path: str | Path) -> bool:
    return Path(path).suffix.lower() == ".json"


def _read(path: str | Path) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: cannot read the word list (it is no UTF-8 text; save it as UTF-8)"
        ) from error
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot read the word list ({what})") from error


def _separator_note(mark: str, names: Sequence[str]) -> str:
    shown = "a tab" if mark == "\t" else f"'{mark}'"
    more = ", ..." if len(names) > 3 else ""
    listed = ", ".join(names[:3])
    return f"{shown} was read as a separator, which gives {len(names)} names: {listed}{more}"


def _name_notes(names: Sequence[str], hints: Sequence[str]) -> tuple[str, ...]:
    """Notes on names that look like several, or like none."""
    several = [
        f"'{' '.join(name.split())}' was read as one name; put several between commas"
        for name in names
        if any(hint in name.strip() for hint in hints)
    ]
    if len(names) > 1 and names[0].strip().lower() in _HEADS:
        several.append(f"'{names[0].strip()}' was read as a name; remove it if it heads a column")
    if numbers := [name.strip() for name in names if _NUMBER.fullmatch(name.strip())]:
        several.append(f"'{numbers[0]}' was read as a name, though it is a number")
    return tuple(several)
