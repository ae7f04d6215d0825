"""How the values of repeated runs are written."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev


def spread(values: Sequence[float]) -> str:
    """Write the mean and, of several values, their standard deviation: ``50.00 ± 1.25``."""
    return f"{fmean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")
