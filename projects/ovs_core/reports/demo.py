"""The demo: what every method makes of the embedded world with the weights that come with it.

A project takes part by tables of the names below; their rows are joined. Nothing here names a
method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..files.writing import save_picture
from .catalog import labels_pixels
from .comparison import Comparison, format_table, row_config, run_table
from .demo_page import Section, write_page
from .picture_sheet import picture_sheet
from .tables import EMBEDDED_WORLD, SPLIT_NOTE, Row, Table, list_tables
from .workers import Each, workers

SHEET_DATASET = "embedded_panoptic_val"  # its pictures are those of the other sets


SECTIONS = (
    Section(
        "demo",
        "Semantic segmentation",
        ("mIoU", "mIoU_union", "mIoU_S", "mIoU_U", "hIoU", "pACC"),
        f"{SPLIT_NOTE}\nmIoU_union averages classes with ground truth or prediction, "
        "hIoU is the harmonic mean of S and U,\npACC the share of right pixels.",
    ),
    Section(
        "demo_panoptic",
        "Panoptic segmentation",
        ("PQ", "PQ_th", "PQ_st", "mIoU"),
        "PQ counts segments found with an IoU above 0.5, times their mean IoU;\n"
        "th: the 20 kinds of things, st: the 8 surfaces.",
    ),
    Section(
        "demo_detection",
        "Detection",
        ("AP50_base", "AP50_novel", "AP50_all", "AP"),
        "AP50: average precision of boxes at IoU 0.5; base classes had boxes in training,\n"
        "novel ones had none. AP: mean over IoU 0.5 to 0.95.",
    ),
)


@dataclass(frozen=True)
class Demo:
    """What the demo made.

    Attributes:
        results: section -> outcome of its table.
        page: the report, one HTML file that needs no other.
        sheet: the sheet of pictures; None if none was asked for.
    """

    results: Mapping[Section, Comparison]
    page: Path
    sheet: Path | None

    @property
    def missing(self) -> int:
        """How many rows could not be run."""
        return sum(result.missing for result in self.results.values())


def run_demo(
    output: str | Path, *, options: Sequence[str] = (), samples: int = 6, processes: int = 1
) -> Demo:
    """Measure the methods on the embedded world, draw a sheet, write the report.

    Args:
        output: folder; every evaluation has a folder of its own in it.
        options: KEY VALUE overrides of every evaluation.
        samples: pictures on the sheet; 0 draws none.
        processes: how many methods are measured at once.
    """
    output = Path(output)
    tables = {section: joined(section) for section in SECTIONS}
    rows = tuple(row for table in tables.values() for row in table.rows)
    metrics = tuple(dict.fromkeys(m for section in SECTIONS for m in section.metrics))
    shown = [replace(row, options=(*row.options, *options)) for row in rows]
    with workers(processes) as each:
        whole = run_table(
            Table("all methods", rows, metrics), output, options=options, samples=0, each=each
        )
        sheet = _sheet(shown, output, samples, each) if samples else None
    results = {section: _part(whole, section, table) for section, table in tables.items()}
    return Demo(results, write_page(output / "index.html", results, sheet), sheet)


def joined(section: Section) -> Table:
    """Join the tables of a section over all projects, in the order of the projects."""
    tables = [t for name, t in list_tables().items() if name.partition("/")[2] == section.name]
    return Table(
        summary=section.title,
        rows=tuple(row for table in tables for row in table.rows),
        metrics=section.metrics,
        caption=f"{section.title}. {EMBEDDED_WORLD}",
        note=section.note,
    )


def _part(whole: Comparison, section: Section, table: Table) -> Comparison:
    """The rows of a section, under its own columns."""
    titles = {row.title for row in table.rows}
    outcomes = [outcome for outcome in whole.outcomes if outcome.title in titles]
    return Comparison(format_table(outcomes, section.metrics), outcomes, {})


def _sheet(rows: Sequence[Row], output: Path, samples: int, each: Each) -> Path | None:
    """Draw what the methods that label pixels make of some pictures, one column each."""
    columns = [(row.title, row_config(row, output)) for row in rows]
    drawing = [(title, cfg) for title, cfg in columns if labels_pixels(cfg)]
    drawn = picture_sheet(drawing, samples, dataset=SHEET_DATASET, each=each)
    return None if drawn is None else save_picture(drawn, output / "sheet.png")
