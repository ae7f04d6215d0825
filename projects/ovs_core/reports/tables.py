"""Tables of a method as data: rows that one runner trains, measures and lays out.

A project keeps its tables in ``tables.py``, as ``TABLES``: name -> ``Table``. Nothing here names a
method.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from detectron2.config import CfgNode

from ..errors import check_choice
from ..methods.projects import SOURCE_ROOT, project_names
from .paper_figures import QUOTED, PaperRow, PaperTable, paper_tables

METRICS = ("mIoU", "mIoU_S", "mIoU_U", "hIoU", "pACC")

EMBEDDED_WORLD = "The embedded world, validation set, 28 classes, 5 of them unseen"
SPLIT_NOTE = """\
mIoU averages classes with ground truth; S and U are the seen and unseen classes of the
zero-shot split, averaged over classes with ground truth or prediction."""


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        title: shown in the table and above the pictures; differs from the others' titles.
        config: short config name or YAML file; it tests on one dataset. "" for a row that is only
            quoted; ``reason`` then says why.
        options: KEY VALUE overrides.
        trained: whether it is trained before it is measured.
        shipped: whether it is measured with the weights that come with the suite.
        group: name by which a person chooses it; "" for a row that is always there.
        published: metric -> figure of the paper, as far as it has one.
        reason: why a row without a config is not measured.
        model: rows of one name are trained once; the title if empty.
        trains: config that trains it; ``config`` if empty.
        measure: further figures, from the config that evaluates the row.
    """

    title: str
    config: str
    options: tuple[str, ...] = ()
    trained: bool = False
    shipped: bool = False
    group: str = ""
    published: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    model: str = ""
    trains: str = ""
    measure: Callable[[CfgNode], Mapping[str, float]] | None = None


@dataclass(frozen=True)
class Table:
    """Rows that belong side by side.

    Attributes:
        summary: what is compared, in one line.
        rows: the lines, in their order.
        metrics: columns, in their order; one that no row has is left out.
        caption: what all rows are measured on; printed above the table.
        note: what a reader of the figures should know; printed below it.
        groups: those that run when a person chooses none; empty for all.
        pictures: whether a sheet of pictures is drawn, for which all rows must test on one dataset.
    """

    summary: str
    rows: tuple[Row, ...]
    metrics: tuple[str, ...] = METRICS
    caption: str = ""
    note: str = ""
    groups: tuple[str, ...] = ()
    pictures: bool = True

    def known_groups(self) -> list[str]:
        """Names by which rows can be chosen, each once and in the order of the rows."""
        return list(dict.fromkeys(row.group for row in self.rows if row.group))

    def choose(self, only: Sequence[str] = (), *, key: str = "--only") -> Table:
        """Keep the rows of some groups, and those that are always there.

        Args:
            only: groups; none for ``groups``.
            key: what a person gave them for; named in the message.

        Raises:
            UserError: for a group that no row has.
        """
        known = self.known_groups()
        for group in only:
            check_choice(key, group, known)
        wanted = ["", *(only or self.groups or known)]
        return replace(self, rows=tuple(row for row in self.rows if row.group in wanted))


def list_tables() -> dict[str, Table]:
    """Give the tables of all projects: ``project/name`` -> table."""
    found: dict[str, Table] = {}
    for project in project_names():
        papers = paper_tables(project).items()
        found |= {f"{project}/{name}": table_of_paper(table) for name, table in papers}
        if (SOURCE_ROOT / project / "tables.py").is_file():
            module = importlib.import_module(f"{project}.tables")
            found |= {f"{project}/{name}": table for name, table in module.TABLES.items()}
    return found


def find_table(name: str) -> Table:
    """Give the table of a name such as ``hclip/tiny``.

    Raises:
        UserError: if there is none; names the nearest.
    """
    tables = list_tables()
    check_choice("table", name, tables)
    return tables[name]


def table_of_paper(paper: PaperTable) -> Table:
    """Bring a printed table to one that can be run: a line per row and dataset.

    Quoted systems, and rows that nothing measures here, stand in it with their printed figures.
    """
    rows = [
        made
        for dataset in paper.datasets
        for row in paper.rows
        if (made := _paper_row(paper, row, dataset)) is not None
    ]
    metrics = dict.fromkeys(metric for row in paper.rows for metric in row.figures)
    rule = f"Metric rule of the paper: {paper.metric_rule}." if paper.metric_rule else ""
    return Table(
        summary=f"{paper.place}: {paper.caption}",
        rows=tuple(rows),
        metrics=tuple(metrics),
        caption=f"{paper.place}, {paper.caption}; printed figures in brackets",
        note=" ".join(part for part in (rule, paper.note) if part),
        pictures=False,
    )


def _paper_row(paper: PaperTable, row: PaperRow, dataset: str) -> Row | None:
    published = {m: values[dataset] for m, values in row.figures.items() if dataset in values}
    if not published:
        return None
    test, config = paper.tests.get(dataset), paper.config(row, dataset)
    reason = QUOTED if row.quoted else row.reason
    if config and paper.tests and test is None:
        config, reason = "", "no table of the suite tests it there; name the set by DATASETS.TEST"
    chosen = ("DATASETS.TEST", f'("{test}",)') if test and config else ()
    return Row(
        title=f"{dataset}: {row.name}",
        config=config,
        options=(*(() if row.base else row.options), *chosen),
        trained=paper.trained and bool(config),
        group=dataset,
        published=published,
        reason=reason,
        model=row.name,
        trains=row.trains,
    )
