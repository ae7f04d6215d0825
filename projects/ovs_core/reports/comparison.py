"""The one runner of tables: train what is to be trained, measure every row, write the outcome."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from detectron2.config import CfgNode
from tabulate import tabulate

from ..engine.config import load_cfg
from ..engine.run import run
from ..engine.train_once import train_once
from ..errors import UserError
from ..evaluation.contract import figures_of
from ..evaluation.oracle import ORACLE
from ..files.writing import atomic_write, save_picture, write_json
from ..methods.configs import find_config, shipped_weights
from .picture_sheet import picture_sheet
from .spread import spread
from .table_facts import Made, facts_table, how_made
from .tables import METRICS, Row, Table
from .workers import Each

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Outcome:
    """What became of a row.

    Attributes:
        title: of the row.
        published: metric -> figure of the paper.
        runs: metric -> value of each run; several where a row was trained with several seeds.
        not_run: why there are none; "" if there are.
        made: how it was measured; None if it was not.
    """

    title: str
    published: Figures = field(default_factory=dict)
    runs: Sequence[Figures] = ()
    not_run: str = ""
    made: Made | None = None

    @property
    def shown(self) -> str:
        """The title, and that its figures know the truth where one of them does."""
        return f"{self.title} ({ORACLE})" if any(ORACLE in run for run in self.runs) else self.title


@dataclass(frozen=True)
class Comparison:
    """What became of a table.

    Attributes:
        markdown: the table.
        outcomes: one per row.
        files: what was written: ``table`` (Markdown), ``json`` and, if drawn, ``pictures``.
    """

    markdown: str
    outcomes: Sequence[Outcome]
    files: Mapping[str, Path]

    @property
    def missing(self) -> int:
        """How many rows could not be run."""
        return sum(bool(outcome.not_run) for outcome in self.outcomes)


def run_table(
    table: Table,
    output: str | Path,
    *,
    options: Sequence[str] = (),
    seeds: Sequence[int] = (),
    samples: int = 6,
    each: Each = map,
) -> Comparison:
    """Train and measure the rows of a table; prints a line per training and per row.

    A training that is finished in ``output`` is not repeated, an unfinished one goes on. A row
    that cannot be run, for example because its dataset is not there, is listed with the reason and
    the others still run.

    Args:
        table: the rows, already chosen.
        output: folder. Trainings go to ``train`` below it, evaluations to a folder of their own;
            ``table.md`` and ``table.json`` are written after every row, ``sheet.png`` at the end.
        options: KEY VALUE overrides of every training and evaluation.
        seeds: each trained row is trained once per seed, and the table has the mean and the
            standard deviation; empty for one training with the config's own seed.
        samples: pictures on the sheet, which shows the first seed; 0 draws none.
        each: how the rows are gone through; see ``workers``.

    Returns:
        The table, and where it was written.

    Raises:
        UserError: before anything is run, for a wrong name or option, or if pictures are asked for
            and the rows test on different datasets.
    """
    output = Path(output)
    rows = [_with_options(row, options) for row in table.rows]
    draw = bool(samples) and table.pictures
    _check(rows, output, same_dataset=draw)
    files = {"table": output / "table.md", "json": output / "table.json"}
    outcomes: list[Outcome] = []
    measured: list[Row] = []
    for outcome, shown in each(partial(_run_row, output=output, seeds=seeds), rows):
        outcomes.append(outcome)
        print(_line(outcome, table.metrics), flush=True)
        measured += [shown] if shown else []
        markdown = format_table(outcomes, table.metrics)
        atomic_write(files["table"], written_table(table, outcomes))
        write_json(files["json"], [asdict(outcome) for outcome in outcomes])
    if draw and measured:
        columns = [(row.title, row_config(row, output)) for row in measured]
        sheet = picture_sheet(columns, samples)
        if sheet is not None:
            files["pictures"] = save_picture(sheet, output / "sheet.png")
    return Comparison(markdown, outcomes, files)


def written_table(table: Table, outcomes: Sequence[Outcome]) -> str:
    """Lay out a table as it is kept: with its caption, its note, and how it was measured."""
    made = {outcome.title: outcome.made for outcome in outcomes}
    parts = [
        f"{table.caption}:" if table.caption else "",
        format_table(outcomes, table.metrics),
        table.note,
        facts_table(made) if any(made.values()) else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def show_result(table: Table, result: Comparison) -> None:
    """Print a table under its caption, its note, and where its files are."""
    caption = f"{table.caption}:\n\n" if table.caption else ""
    note = f"{table.note}\n\n" if table.note else ""
    print(f"\n{caption}{result.markdown}\n\n{note}", end="")
    for name in ("table", "pictures"):
        if name in result.files:
            print(f"{name:<9} {result.files[name]}")


def format_table(outcomes: Sequence[Outcome], metrics: Sequence[str] = METRICS) -> str:
    """Lay outcomes out as a Markdown table; metrics that no row has are left out.

    Args:
        outcomes: the rows. A cell holds the mean over the runs, their standard deviation if there
            are several, and in brackets the published figure if there is one.
        metrics: columns, in their order.
    """
    shown = [m for m in metrics if any(m in run for o in outcomes for run in o.runs)]
    lines = [
        [o.title, " ".join(_why(o, metrics))]
        if o.not_run
        else [o.shown, *(cell(o, metric) for metric in shown)]
        for o in outcomes
    ]
    return tabulate(lines, headers=("method", *shown), tablefmt="github", disable_numparse=True)


def _why(outcome: Outcome, metrics: Sequence[str]) -> Iterator[str]:
    """Say what the paper prints for a row that has no figures here, and why it has none."""
    yield from (f"{m} {cell(outcome, m)}," for m in metrics if m in outcome.published)
    yield f"not run: {outcome.not_run.splitlines()[0]}"


def _with_options(row: Row, options: Sequence[str]) -> Row:
    """Add a person's options; on another dataset than the row's own, the paper prints nothing."""
    changed = replace(row, options=(*row.options, *options))
    if not (row.config and row.published and "DATASETS.TEST" in options):
        return changed
    tested = [row_config(one, Path("output")).DATASETS.TEST for one in (row, changed)]
    return changed if tested[0] == tested[1] else replace(changed, published={})


def _line(outcome: Outcome, metrics: Sequence[str]) -> str:
    """What is said as soon as a row is through: its first figure, or why there is none."""
    if outcome.not_run:
        return f"{outcome.title}: not run"
    first = next(metric for metric in metrics if cell(outcome, metric))
    return f"{outcome.shown}: {first} {cell(outcome, first)}"


def cell(outcome: Outcome, metric: str) -> str:
    """Write a figure: mean, deviation of several runs, the published one; "" without any."""
    values = [run[metric] for run in outcome.runs if metric in run]
    parts = [spread(values)] if values else []
    parts += [f"({outcome.published[metric]:.2f})"] if metric in outcome.published else []
    return " ".join(parts)


def _check(rows: Sequence[Row], output: Path, *, same_dataset: bool) -> None:
    """Refuse rows that no folder, config or sheet can be made for."""
    titles = [row.title for row in rows]
    for row in rows:
        if titles.count(row.title) > 1:
            raise UserError(f"'{row.title}' stands for two rows of one table; name each once")
    measured = [row for row in rows if row.config]
    tested = {row.title: tuple(row_config(row, output).DATASETS.TEST) for row in measured}
    for title, names in tested.items():
        if len(names) != 1:
            raise UserError(
                f"{title}: a row is measured on one dataset, but DATASETS.TEST is {names}"
            )
    sets = sorted({name for (name,) in tested.values()})
    if same_dataset and len(sets) > 1:
        raise UserError(
            f"the rows test on different datasets ({', '.join(sets)}), which no sheet can show "
            "side by side; choose one by DATASETS.TEST, or ask for no pictures with --samples 0"
        )


def _run_row(row: Row, *, output: Path, seeds: Sequence[int]) -> tuple[Outcome, Row | None]:
    """Train and measure one row; gives it as it is shown on a sheet, None if it could not run."""
    if not row.config:
        return Outcome(row.title, row.published, not_run=row.reason), None
    try:
        trained = _train(row, output / "train", seeds) if row.trained else [row]
        runs = [_measure(one, output) for one in trained]
        made = how_made(row.config, row_config(trained[0], output), seeds if row.trained else ())
    except UserError as error:
        return Outcome(row.title, row.published, not_run=str(error)), None
    return Outcome(row.title, row.published, runs, made=made), replace(trained[0], title=row.title)


def _train(row: Row, folder: Path, seeds: Sequence[int]) -> list[Row]:
    """Train a row with each seed; gives the rows that measure the outcomes."""
    made = []
    chosen: Sequence[int | None] = seeds or (None,)
    for seed in chosen:
        suffix = "" if seed is None else f", seed {seed}"
        title, model = row.title + suffix, (row.model or row.title) + suffix
        seeded = () if seed is None else ("SEED", str(seed))
        weights, seconds = train_once(
            row.trains or row.config, folder / _slug(model), (*row.options, *seeded)
        )
        spent = f", trained in {seconds:.0f} s" if seconds else ""
        print(f"{title}: {weights}{spent}", flush=True)
        made.append(
            replace(row, title=title, options=(*row.options, "MODEL.WEIGHTS", str(weights)))
        )
    return made


def _measure(row: Row, output: Path) -> dict[str, float]:
    found = figures_of(run(str(find_config(row.config)), _options(row, output), eval_only=True))
    return {**found, **(row.measure(row_config(row, output)) if row.measure else {})}


def row_config(row: Row, output: Path) -> CfgNode:
    """Give the config that a row is measured with; its results go below ``output``."""
    return load_cfg(find_config(row.config), _options(row, output))


def _options(row: Row, output: Path) -> list[str]:
    weights = shipped_weights(find_config(row.config)) if row.shipped else ""
    shipped = ["MODEL.WEIGHTS", weights] if weights else []
    return ["OUTPUT_DIR", str(output / _slug(row.title)), *shipped, *row.options]


def _slug(title: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in title.lower())
