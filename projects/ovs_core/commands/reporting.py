"""``--json``: what a command reports, for programs."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from pathlib import Path


def write_report(file: Path | None, content: object, text: str) -> None:
    """Print a report, and write it as JSON where ``--json`` says.

    Args:
        file: of the line; ``-`` prints the JSON in place of the text. None: the text alone.
        content: the report, as JSON takes it.
        text: the report for people.
    """
    if not _is_alone(file):
        print(text)
    save_report(file, content)


def save_report(file: Path | None, content: object) -> None:
    """Write a report where ``--json`` says: nowhere, into a file, or to the standard output."""
    from ..files.writing import json_text, write_json

    if _is_alone(file):
        print(json_text(content))
    elif file is not None:
        write_json(file, content)


def json_alone(file: Path | None) -> AbstractContextManager[object]:
    """Send what is printed meanwhile elsewhere, where ``--json -`` wants the report alone."""
    return redirect_stdout(sys.stderr) if _is_alone(file) else nullcontext()


def _is_alone(file: Path | None) -> bool:
    return str(file) == "-"
