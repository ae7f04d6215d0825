"""Results as a table on screen, JSON, CSV and a Markdown row that says how they were made."""

from __future__ import annotations

import csv
import datetime
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from ..files.writing import atomic_write, json_text

logger = logging.getLogger(__name__)

PACKAGES = ("ovsuite", "torch", "detectron2")

Column = Sequence[Any] | np.ndarray


@dataclass(frozen=True)
class Report:
    """What an evaluation found.

    Attributes:
        key: name of the result, for example ``sem_seg``; the files call it task.
        dataset: registered name.
        rule: how the figures are defined, in one line.
        figures: metric -> value, in the order of importance.
        classes: column -> one value per class; the first column holds the names.
        pictures: number of pictures scored.
        config: what was evaluated, usually the config file.
        notes: lines that a reader of the figures should know.
        oracle: what the figures know of the truth; nothing in a plain evaluation.
        protocol: how pictures were shown to the network.
    """

    key: str
    dataset: str
    rule: str
    figures: Mapping[str, float]
    classes: Mapping[str, Column] = field(default_factory=dict)
    pictures: int = 0
    config: str = ""
    notes: Sequence[str] = ()
    oracle: Sequence[str] = ()
    protocol: str = ""

    def table(self) -> str:
        """Lay out the figures, then one row per class, then the notes."""
        title = f"{self.key} on {self.dataset}, {self.pictures} pictures ({self.rule})"
        head = tabulate([list(self.figures.values())], list(self.figures), floatfmt=".2f")
        parts = [title, *([f"ORACLE: {self.why()}"] if self.oracle else []), head]
        if self.classes:
            parts.append(tabulate(self.classes, headers="keys", floatfmt=".2f"))
        return "\n\n".join([*parts, *(["\n".join(self.notes)] if self.notes else [])])

    def json(self) -> str:
        """Everything, with null for NaN."""
        content = {
            "task": self.key,
            "dataset": self.dataset,
            "rule": self.rule,
            "protocol": self.protocol,
            "config": self.config,
            "pictures": self.pictures,
            "date": _today(),
            "versions": versions(),
            "figures": self.figures,
            "classes": self.classes,
            "notes": list(self.notes),
            "oracle": list(self.oracle),
        }
        return json_text(content)

    def why(self) -> str:
        """What the figures know of the truth, in one line."""
        return "; ".join(self.oracle)

    def csv(self) -> str:
        """One line per figure, then one per class and column."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("dataset", "task", "class", "metric", "value", "oracle"))
        for metric, value in self.figures.items():
            writer.writerow((self.dataset, self.key, "", metric, value, self.why()))
        columns = list(self.classes)
        for metric in columns[1:]:
            for name, value in zip(self.classes[columns[0]], self.classes[metric], strict=True):
                writer.writerow((self.dataset, self.key, name, metric, value, self.why()))
        return out.getvalue()

    def markdown(self) -> str:
        """One table row under its header, ready for a document."""
        cells = {
            "config": self.config or "-",
            "dataset": self.dataset,
            **{name: f"{value:.2f}" for name, value in self.figures.items()},
            "rule": self.rule,
            **({"oracle": self.why()} if self.oracle else {}),
            "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
            "date": _today(),
        }
        safe = [str(cell).replace("|", "\\|") for cell in cells.values()]
        lines = [list(cells), ["---"] * len(cells), safe]
        return "".join("| " + " | ".join(line) + " |\n" for line in lines)

    def write(self, folder: str | Path) -> None:
        """Write ``<key>_evaluation.json``, ``.csv`` and ``.md``, each in one step."""
        stem = Path(folder) / f"{self.key}_evaluation"
        atomic_write(stem.with_suffix(".json"), self.json())
        atomic_write(stem.with_suffix(".csv"), self.csv())
        atomic_write(stem.with_suffix(".md"), self.markdown())

    def publish(self, folder: str | Path | None) -> None:
        """Log the table and, with a folder, write the files."""
        logger.info("\n%s", self.table())
        if folder is not None:
            self.write(folder)
            logger.info("Results written to %s", folder)


def versions() -> dict[str, str]:
    """Versions of the packages that figures depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _today() -> str:
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()
