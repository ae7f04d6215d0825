"""Running the rows of the paper's tables and setting measured beside published figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ovs_core.engine.run import run
from ovs_core.errors import UserError, nearest
from ovs_core.files.writing import atomic_write, write_json

HERE = Path(__file__).resolve().parent
METRICS = ("pACC", "mACC", "fwIoU", "mIoU")
METHODS = ("clip", "sclip", "cliptrase")
TINY = (
    ("plain CLIP", "tiny_clip"),
    ("+ recovery", "tiny_scr"),
    ("+ clustering", "tiny_scr_pc"),
    ("+ denoising = CLIPtrase", "tiny"),
    ("MaskCLIP", "tiny_maskclip"),
    ("SCLIP", "tiny_sclip"),
    ("CLIP-Surgery", "tiny_surgery"),
)


@dataclass(frozen=True)
class TableRow:
    """One run.

    Attributes:
        title: shown in the table.
        config: YAML file.
        options: KEY VALUE overrides.
        published: metric -> figure of the paper, as far as it has one.
    """

    title: str
    config: Path
    options: tuple[Any, ...] = ()
    published: dict[str, float] | None = None


def table_rows(table: str, only: Sequence[str] = ()) -> list[TableRow]:
    """Give the rows of a table.

    Args:
        table: ``tiny``, ``224``, ``336`` or ``ablations``.
        only: data sets (``224``, ``336``) or ablations to run; default all.

    Raises:
        UserError: for an unknown name in ``only``.
    """
    published = json.loads((HERE / "published.json").read_text(encoding="utf-8"))
    configs = HERE / "configs"
    if table == "tiny":
        return [TableRow(title, configs / f"{name}.yaml") for title, name in TINY]
    if table == "ablations":
        figures = published["ablations_ade150_mIoU"]
        known = sorted(p.stem for p in (configs / "ablations").glob("*.yaml"))
        known = [name for name in known if not name.startswith("Base")]
        names = _chosen(only, known)
        return [
            TableRow(
                name,
                configs / "ablations" / f"{name}.yaml",
                published={"mIoU": figures[name]} if name in figures else None,
            )
            for name in names
        ]
    rows = []
    for name in _chosen(only, list(published[table])):
        for method in METHODS:
            rows.append(
                TableRow(
                    f"{name} {method}",
                    configs / "benchmarks" / f"{name}_{table}.yaml",
                    ("MODEL.CLIPTRASE.METHOD", method),
                    published[table][name][method],
                )
            )
    return rows


def run_table(
    rows: Sequence[TableRow],
    output: Path,
    options: Sequence[str] = (),
    *,
    evaluate: Callable[..., dict] = run,
) -> tuple[str, int]:
    """Run rows and write ``table.md`` and ``table.json`` after each of them.

    A row whose data set or weights are missing is listed with the reason; the others still run.

    Args:
        rows: what to run.
        output: folder.
        options: KEY VALUE overrides of every row.
        evaluate: ``(config, options, eval_only=True) -> results``.

    Returns:
        The table as Markdown, and how many rows could not be run.
    """
    output.mkdir(parents=True, exist_ok=True)
    done: list[dict[str, Any]] = []
    for row in rows:
        folder = output / "".join(c if c.isalnum() else "_" for c in row.title)
        entry: dict[str, Any] = {"title": row.title, "published": row.published or {}}
        own = [*map(str, row.options), "OUTPUT_DIR", str(folder), *options]
        try:
            entry["measured"] = dict(evaluate(str(row.config), own, eval_only=True)["sem_seg"])
        except UserError as error:
            entry["not_run"] = str(error)
        done.append(entry)
        table = format_table(done)
        atomic_write(output / "table.md", table + "\n")
        write_json(output / "table.json", done)
    return format_table(done), sum("not_run" in entry for entry in done)


def format_table(entries: Sequence[dict[str, Any]]) -> str:
    """Lay entries out as Markdown; each cell is measured, and published in brackets."""
    extra = [m for m in ("mIoU_S", "mIoU_U") if any(m in e.get("measured", {}) for e in entries)]
    metrics = [*METRICS, *extra]
    cells = []
    for entry in entries:
        if "not_run" in entry:
            reason = entry["not_run"].splitlines()[0]
            cells.append([entry["title"], f"not run: {reason}"])
            continue
        cells.append([entry["title"], *(_cell(entry, metric) for metric in metrics)])
    return tabulate(cells, headers=("row", *metrics), tablefmt="github", disable_numparse=True)


def _cell(entry: dict[str, Any], metric: str) -> str:
    measured, published = entry["measured"].get(metric), entry["published"].get(metric)
    text = "" if measured is None else f"{measured:.2f}"
    return text if published is None else f"{text} ({published:.2f})"


def _chosen(only: Sequence[str], known: Sequence[str]) -> list[str]:
    for name in only:
        if name not in known:
            raise UserError(f"no row '{name}'.{nearest(name, known)} Known: {', '.join(known)}")
    return [name for name in known if not only or name in only]
