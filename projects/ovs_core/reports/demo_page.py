"""The report of the demo: one HTML file that opens without a network."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from .. import __version__
from ..files.writing import atomic_write
from .comparison import Comparison, cell


@dataclass(frozen=True)
class Section:
    """Rows of all projects that are measured alike.

    Attributes:
        name: of the tables that hold them.
        title: heading.
        metrics: columns.
        note: how the figures are read.
    """

    name: str
    title: str
    metrics: tuple[str, ...]
    note: str


# What a person tries next; a test holds them against the commands.
NEXT = (
    ("Your words on a picture", 'ovsuite segment scene.png --words "house, ball, sea, brick"'),
    ("Two methods side by side", "ovsuite compare scene.png --methods cliptrase/tiny hclip/tiny "
     '--words "house, ball, sea, brick" --output compared'),
    ("The same in a browser", "ovsuite web --browser"),
    ("Train a method from nothing", "ovsuite train --config-file hclip/tiny"),
    ("The tables of the papers", "ovsuite tables"),
)  # fmt: skip


def write_page(path: Path, results: Mapping[Section, Comparison], sheet: Path | None) -> Path:
    """Write the report.

    Args:
        path: HTML file.
        results: section -> outcome of its table.
        sheet: picture that is put into the file; None for none.

    Returns:
        The file.
    """
    environment = Environment(
        loader=PackageLoader("ovs_core.reports", "."), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("demo_page.html").render(
        version=__version__,
        sections=[_section(section, result) for section, result in results.items()],
        picture=sheet and _embedded(sheet),
        steps=NEXT,
    )
    atomic_write(path, page)
    return path


def _section(section: Section, result: Comparison) -> dict[str, object]:
    """What the template shows of a table; the best of each column is marked."""
    shown = [m for m in section.metrics if any(m in r for o in result.outcomes for r in o.runs)]
    best = {m: max(r[m] for o in result.outcomes for r in o.runs if m in r) for m in shown}
    rows = [
        {
            "title": outcome.shown,
            "not_run": outcome.not_run,
            "cells": [(cell(outcome, m), any(r.get(m) == best[m] for r in outcome.runs))
                      for m in shown],
        }
        for outcome in result.outcomes
    ]  # fmt: skip
    return {"title": section.title, "note": section.note, "metrics": shown, "rows": rows}


def _embedded(path: Path) -> str:
    """A picture as an address that holds it, small enough to send."""
    file = io.BytesIO()
    with Image.open(path) as picture:
        picture.convert("RGB").save(file, "WEBP", quality=85)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")
