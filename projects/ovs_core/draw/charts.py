"""Charts of figures, without pyplot: a person's choice of backend stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..files.writing import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 120


def new_chart(width: float, height: float) -> tuple[Figure, Axes]:
    """Begin a chart.

    Args:
        width: in inches.
        height: in inches.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    return figure, figure.subplots()


def save_chart(figure: Figure, path: Path) -> None:
    """Write a chart as a picture of the kind that the file's name ends with."""
    with atomic_path(path) as part:
        figure.savefig(part, dpi=DPI)
