"""Reading a table that somebody pasted: Markdown, LaTeX or CSV, to names and numbers."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError

_NUMBER = re.compile(r"^([+-]?\d+(?:\.(\d+))?)\s*%?(?:\s*(?:±|\+-).*)?(?:\s*\([^)]*\))?$")
_RULES = re.compile(
    r"\\(hline|toprule|midrule|bottomrule|hdashline|cmidrule|cline)(\([^)]*\))?(\{[^}]*\})?"
)
_TABULAR = re.compile(
    r"\\begin\{tabular[x*]?\}(?:\{(?:[^{}]|\{[^{}]*\})*\}){1,2}(.*?)\\end\{tabular", re.S
)
_WRAPPED = re.compile(r"\\(?:textbf|underline|textit|emph|mathbf|text|textrm)\s*\{([^{}]*)\}")
_SPAN = re.compile(r"^\\multicolumn\{(\d+)\}\{[^}]*\}\{(.*)\}$")
_ROWS = re.compile(r"\\multirow\{[^}]*\}\{[^}]*\}\{([^{}]*)\}")


@dataclass(frozen=True)
class Number:
    """A printed figure.

    Attributes:
        value: what is printed.
        decimals: digits behind the point, which say how far it may be rounded.
    """

    value: float
    decimals: int

    @property
    def rounding(self) -> float:
        """How far the figure may be from the one that was rounded."""
        return float(0.5 * 10.0**-self.decimals)


@dataclass(frozen=True)
class PastedTable:
    """Names of the columns, and the lines.

    Attributes:
        names: one per column; header lines above each other are joined.
        rows: cells as text, all as many as ``names``.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def number(self, row: int, column: int) -> Number | None:
        """Give a figure, or None for text and for what stands for none."""
        return parse_number(self.rows[row][column])

    def label(self, row: int) -> str:
        """Name a line by its texts."""
        texts = [c for c in self.rows[row] if c.strip(" -–—/") and parse_number(c) is None]
        return ", ".join(texts) or f"line {row + 1}"


def parse_number(cell: str) -> Number | None:
    """Read ``41.0``, ``41.0 %``, ``41.0 ± 0.2`` or ``41.0 (+1.3)``; None if it is no number."""
    found = _NUMBER.match(cell.strip())
    return Number(float(found[1]), len(found[2] or "")) if found else None


def read_table(path: str | Path) -> PastedTable:
    """Read a table; the form is seen from the content.

    Raises:
        UserError: if the file cannot be read or holds no table with figures.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error})") from error
    lines = _split(text)
    if not any(parse_number(cell) for line in lines for cell in line[1:]):
        raise UserError(f"{path}: no table with figures found; give a Markdown, LaTeX or CSV table")
    width = max(map(len, lines))
    lines = [[*line, *[""] * (width - len(line))] for line in lines]
    first = next(i for i, line in enumerate(lines) if _is_data(line))
    if first == 0:
        raise UserError(f"{path}: the table has no line with the names of its columns")
    names = tuple(" ".join(filter(None, column)) for column in zip(*lines[:first], strict=True))
    rows = [line for line in lines[first:] if _is_data(line)]
    return PastedTable(names, tuple(map(tuple, rows)))


def _is_data(line: list[str]) -> bool:
    """Whether it has a figure beside a name: a header such as ``224`` has more texts than that."""
    cells = [cell for cell in line[1:] if cell]
    return sum(parse_number(cell) is not None for cell in cells) * 2 > len(cells)


def _split(text: str) -> list[list[str]]:
    if "\\\\" in text and "&" in text:
        return _split_latex(text)
    lines = [line.strip() for line in text.splitlines()]
    if any(line.startswith("|") for line in lines):
        cells = [re.split(r"(?<!\\)\|", line.strip("|")) for line in lines if line.startswith("|")]
        plain = [[_plain(cell) for cell in line] for line in cells]
        return [line for line in plain if not all(re.fullmatch(r":?-{2,}:?", c) for c in line)]
    filled = "\n".join(line for line in lines if line)
    delimiter = max(",;\t", key=filled.count)
    rows = csv.reader(io.StringIO(filled), delimiter=delimiter)
    return [[_plain(cell) for cell in row] for row in rows if row]


def _split_latex(text: str) -> list[list[str]]:
    text = re.sub(r"(?<!\\)%.*", "", text)
    inner = _TABULAR.search(text)
    body = _RULES.sub("", inner[1] if inner else text)
    lines = []
    for line in re.split(r"\\\\(?:\[[^\]]*\])?", body):
        cells: list[str] = []
        for cell in re.split(r"(?<!\\)&", " ".join(line.split())):
            span = _SPAN.match(cell.strip())
            cells += [_latex(span[2])] * int(span[1]) if span else [_latex(cell)]
        if any(cells):
            lines.append(cells)
    return lines


def _latex(cell: str) -> str:
    cell = _ROWS.sub(r"\1", re.sub(r"~?\\cite\{[^}]*\}", "", cell))
    while _WRAPPED.search(cell):
        cell = _WRAPPED.sub(r"\1", cell)
    return _plain(
        cell.replace("\\pm", "±").replace("\\%", "%").replace("\\&", "&").replace("$", "")
    )


def _plain(cell: str) -> str:
    return re.sub(r"\*\*|__|`|</?\w+>", "", cell).strip()
