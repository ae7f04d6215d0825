"""Figures of papers in documents: what stands between two marks is written from the data files.

``<!-- paper: hclip -->`` begins all printed tables of a project, written whole. ``<!-- figures:
hclip 1 3 -->`` begins a table whose first column names configs and whose cells below a name of
``COLUMNS``, or of a printed line, are filled from those printed tables; its other cells are a
person's. Both end with ``<!-- end -->``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..errors import UserError
from .paper_figures import PaperRow, PaperTable, paper_tables, variants

NONE = "–"
_BLOCK = re.compile(
    r"(<!-- (?P<kind>paper|figures): (?P<names>[^>]+?) -->\n)(?P<body>.*?)(?=<!-- end -->)", re.S
)
_IN_PERCENT = 1  # least decimals of a metric that is a percentage
_WHOLE = ("parameters_M", "relative_flops")  # metrics that are none, one for all datasets


@dataclass(frozen=True)
class Column:
    """Which figures of a config stand below a heading.

    Attributes:
        metric: name in the data files.
        dataset: likewise; "" for all that the config is tested on.
        row: end of the name of the printed line; "" for the line that the config stands for.
    """

    metric: str = "mIoU"
    dataset: str = ""
    row: str = ""


COLUMNS: Mapping[str, Column] = {
    "A-847": Column(dataset="ade847"),
    "PC-459": Column(dataset="context459"),
    "A-150": Column(dataset="ade150"),
    "PC-59": Column(dataset="context59"),
    "PAS-20": Column(dataset="voc20"),
    "PAS-20b": Column(dataset="voc20b"),
    "pAcc": Column("pACC"),
    "S": Column("mIoU_S"),
    "U": Column("mIoU_U"),
    "h": Column("hIoU"),
    "novel": Column("AP50_novel"),
    "base": Column("AP50_base"),
    "mIoU": Column(),
    "PQ": Column("PQ"),
    "SQ": Column("SQ"),
    "RQ": Column("RQ"),
    "AP": Column("AP"),
}


def write_figures(text: str) -> str:
    """Write the marked parts of a document anew.

    Args:
        text: the document, in Markdown.

    Raises:
        UserError: for a mark without an end, a table that no paper has, or a cell for which the
            named tables print two different figures.
    """
    marks, ends = (
        len(re.findall(mark, text)) for mark in (r"<!-- (?:paper|figures): ", r"<!-- end -->")
    )
    if marks != ends:
        raise UserError(f"{marks} marks of figures, but {ends} times <!-- end -->")
    return _BLOCK.sub(_written, text)


def _written(match: re.Match[str]) -> str:
    project, *names = match["names"].split()
    known = paper_tables(project)
    missing = [name for name in names or [""] if name and name not in known]
    if missing or not known:
        raise UserError(f"{match[1].strip()}: {project} has no table {' '.join(missing)}")
    if match["kind"] == "paper":
        return match[1] + "\n".join(printed_tables(project)) + "\n"
    chosen = [known[name] for name in names]
    return match[1] + "".join(_filled(match["body"], project, chosen))


def printed_tables(project: str) -> Iterator[str]:
    """Give the lines of all printed tables of a project, each row beside its config or a reason."""
    for name, table in paper_tables(project).items():
        every = list(dict.fromkeys(metric for row in table.rows for metric in row.figures))
        once = [metric for metric in every if metric in _WHOLE and len(every) > 1]
        metrics = [metric for metric in every if metric not in once]
        rule = f" Metric rule: {table.metric_rule}." if table.metric_rule else ""
        note = f" {table.note[0].upper()}{table.note[1:]}." if table.note else ""
        yield ""
        yield f"**{table.place}, {table.caption}** (`ovsuite tables {project} {name}`)."
        yield f"Cells: {' / '.join(metrics)}.{rule}{note}"
        yield ""
        averaged = any(row.averages for row in table.rows)
        header = ["row", "measured here by", *table.datasets, *["mean"] * averaged, *once]
        yield _line(header)
        yield _line(["---"] * len(header))
        for row in table.rows:
            cells = [_cell(row, metrics, dataset) for dataset in table.datasets]
            means = [_cell(row, metrics, "")] * averaged
            own = [_cell(row, [metric], table.datasets[0]) for metric in once]
            yield _line([row.name, measured_by(row), *cells, *means, *own])
    yield ""


def measured_by(row: PaperRow) -> str:
    """Name the config and options that measure a printed line, or say why none does."""
    if row.config:
        options = " ".join(row.options) if row.options and not row.base else ""
        return " ".join(f"`{p}`" for p in (row.config.format(dataset="*"), options) if p)
    return "; ".join(part for part in ("quoted" * row.quoted, row.reason) if part)


def written_figure(row: PaperRow, metric: str, value: float) -> str:
    """Write a figure with as many decimals as its line has for the metric."""
    values = row.figures[metric].values()
    least = 0 if metric in _WHOLE else _IN_PERCENT
    decimals = max([least, *(len(f"{v:.10g}".partition(".")[2]) for v in values)])
    return f"{value:.{decimals}f}"


def _cell(row: PaperRow, metrics: Sequence[str], dataset: str) -> str:
    """The figures of a dataset; of the printed means without one."""
    found = []
    for metric in metrics:
        figures = row.figures.get(metric, {})
        value = figures.get(dataset) if dataset else row.averages.get(metric)
        found.append(NONE if value is None else written_figure(row, metric, value))
    return NONE if set(found) == {NONE} else " / ".join(found)


def _filled(body: str, project: str, tables: Sequence[PaperTable]) -> Iterator[str]:
    header: list[str] = []
    for line in body.splitlines(keepends=True):
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if not cells or set(cells) == {"---"}:
            yield line
        elif not cells[0].startswith("`"):
            header = cells
            yield line
        else:
            config = cells[0].strip("`")
            columns = [_column(name, tables) for name in header]
            yield _line([
                cell if column is None else figure_of(config, column, project, tables)
                for cell, column in zip(cells, columns, strict=True)
            ]) + "\n"  # fmt: skip


def _column(name: str, tables: Sequence[PaperTable]) -> Column | None:
    """What stands below a heading; None for what a person writes."""
    named = any(_is_called(row, name) for table in tables for row in table.rows)
    return COLUMNS.get(name) or (Column(row=name) if named else None)


def figure_of(config: str, column: Column, project: str, tables: Sequence[PaperTable]) -> str:
    """Give what papers print for a config, dataset by dataset.

    Args:
        config: short name.
        column: which figures.
        project: whose variants tell that a config is another one under a second name.
        tables: where to look.

    Returns:
        One figure for each dataset, joined by commas; a dash without any.

    Raises:
        UserError: if the tables print two different ones for a dataset.
    """
    same = {row.config: row.base for row in variants(project) if not row.options}
    found: dict[str, str] = {}
    for dataset, row in _lines_of(same.get(config, config), column, tables):
        value = row.figures.get(column.metric, {}).get(dataset)
        if value is None or column.dataset not in ("", dataset):
            continue
        written = written_figure(row, column.metric, value)
        if found.setdefault(dataset, written) != written:
            raise UserError(f"{config}, {dataset}: {found[dataset]} and {written} are printed")
    return ", ".join(found.values()) or NONE


def _lines_of(
    config: str, column: Column, tables: Sequence[PaperTable]
) -> Iterator[tuple[str, PaperRow]]:
    """(dataset, row) of each printed line that a config measures, or of the line that is named."""
    for table in tables:
        for row in table.rows:
            for dataset in table.datasets:
                if row.alias == config and dataset == "ade150" and not column.row:
                    yield dataset, row
                elif table.config(row, dataset) == config and _stands_for(row, column.row):
                    yield dataset, row


def _stands_for(row: PaperRow, name: str) -> bool:
    return _is_called(row, name) if name else bool(row.base) or not row.options


def _is_called(row: PaperRow, name: str) -> bool:
    return row.name == name or row.name.endswith(f" {name}")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
