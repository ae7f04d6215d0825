"""What papers print: the file ``paper_figures.yaml`` of a project, and nowhere else.

A figure is found by its table, row, dataset and metric. Tables of documents and ``ovsuite tables``
show it; a row says which config measures it here, or why none does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ..errors import UserError
from ..files.yaml_files import read_yaml
from ..methods.projects import SOURCE_ROOT

FILE = "paper_figures.yaml"
QUOTED = "quoted from the paper; the suite does not hold this system"


@dataclass(frozen=True)
class PaperRow:
    """One line of a printed table.

    Attributes:
        name: as the paper or its table calls it.
        figures: metric -> dataset -> figure; datasets without a figure are left out.
        averages: metric -> printed mean over the datasets.
        quoted: whether the suite does not hold the system.
        config: what measures it; ``{dataset}`` stands for the name of the dataset in configs.
        options: KEY VALUE pairs on top of ``config``, or with a ``base`` on top of that.
        trains: what is trained before ``config`` measures; "" for ``config`` itself.
        alias: a config that says the same for ADE-150.
        base: config from which ``config`` differs by ``options`` alone; with ``{dataset}``, too.
        reason: why nothing measures it here.
    """

    name: str
    figures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    averages: Mapping[str, float] = field(default_factory=dict)
    quoted: bool = False
    config: str = ""
    options: tuple[str, ...] = ()
    trains: str = ""
    alias: str = ""
    base: str = ""
    reason: str = ""


@dataclass(frozen=True)
class PaperTable:
    """A printed table.

    Attributes:
        caption: what it compares.
        place: number of the table or figure.
        datasets: its columns.
        rows: its lines, in their order.
        trained: whether its rows are trained before they are measured.
        metric_rule: what the paper, or its code, averages.
        note: what a reader should know.
        config_names: dataset -> its name in configs, where that is another.
        tests: dataset -> the registered name that ``DATASETS.TEST`` gets.
    """

    caption: str
    place: str
    datasets: tuple[str, ...]
    rows: tuple[PaperRow, ...]
    trained: bool = False
    metric_rule: str = ""
    note: str = ""
    config_names: Mapping[str, str] = field(default_factory=dict)
    tests: Mapping[str, str] = field(default_factory=dict)

    def config(self, row: PaperRow, dataset: str) -> str:
        """Give the config that measures a line on a dataset; "" if none does."""
        return row.config.format(dataset=self.config_names.get(dataset, dataset))

    def base(self, row: PaperRow, dataset: str) -> str:
        """Give the config from which that one differs by the line's options; "" if none is."""
        return row.base.format(dataset=self.config_names.get(dataset, dataset))


@cache
def paper_tables(project: str) -> Mapping[str, PaperTable]:
    """Read the printed tables of a project's papers: name -> table; none without a file.

    Raises:
        UserError: for a line that has more or fewer figures than its table has datasets, or a key
            that nothing reads.
    """
    content = _content(project)
    trained = bool(content.get("trained", False))
    with _named(project):
        return {k: _table(v, trained=trained) for k, v in content.get("tables", {}).items()}


@cache
def variants(project: str) -> tuple[PaperRow, ...]:
    """Read the configs of which no paper prints a figure, each with what it differs from, and how.

    Raises:
        UserError: for a key that nothing reads.
    """
    with _named(project):
        return tuple(_row(row, ()) for row in _content(project).get("variants", ()))


def _content(project: str) -> dict[str, Any]:
    path = SOURCE_ROOT / project / FILE
    return read_yaml(path) if path.is_file() else {}


@contextmanager
def _named(project: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{SOURCE_ROOT / project / FILE}: {error}") from error


def _table(content: dict[str, Any], *, trained: bool) -> PaperTable:
    datasets = tuple(content.pop("datasets"))
    rows = tuple(_row(row, datasets) for row in content.pop("rows"))
    return PaperTable(datasets=datasets, rows=rows, trained=trained, **content)


def _row(content: dict[str, Any], datasets: tuple[str, ...]) -> PaperRow:
    figures = {
        metric: {d: float(v) for d, v in zip(datasets, values, strict=True) if v is not None}
        for metric, values in content.pop("figures", {}).items()
    }
    options = tuple(content.pop("options", ()))
    return PaperRow(figures=figures, options=options, **content)
