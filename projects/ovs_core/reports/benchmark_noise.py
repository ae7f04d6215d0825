"""How sure a median of timings is, and whether a method has become slower beyond that.

Compared are the rounds' ratios of a method to the bare network, of processor time: the speed of the
machine is in both.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files.json_files import parse_json

SURE = 0.05  # relative half-width of the median's interval that is aimed at
SAME = ("config", "words", "size", "label_map", "threads", "device")  # what two results must share
RATIOS = "ratios_cpu"


def median_error(values: Sequence[float]) -> float:
    """Half the width of the 95 % interval of the median, relative to it; infinite below 3 values.

    The spread is that of the median absolute deviation, so that a few disturbed rounds do not count
    for more than they are.
    """
    if len(values) < 3:
        return float("inf")
    middle = statistics.median(values)
    spread = 1.4826 * statistics.median(abs(value - middle) for value in values)
    return 1.96 * 1.2533 * spread / len(values) ** 0.5 / middle


def read_result(path: Path) -> dict[str, Any]:
    """Read what an earlier benchmark wrote.

    Raises:
        UserError: if it cannot be read, or has no ratios.
    """
    try:
        found = parse_json(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"--against {path}: cannot be read ({error})") from error
    ratios = found.get(RATIOS) if isinstance(found, dict) else None
    if not (isinstance(ratios, list) and ratios and all(_is_ratio(r) for r in ratios)):
        raise UserError(
            f"--against {path}: has no {RATIOS}; write it with `ovsuite benchmark ... --output`"
        )
    return dict(found)


def slowdown(new: Mapping[str, Any], old: Mapping[str, Any]) -> tuple[float, float]:
    """Compare two results of one benchmark.

    Args:
        new: what was measured now.
        old: what was measured before.

    Returns:
        By what share the method has become slower (negative: faster), and the share that is noise.

    Raises:
        UserError: if they are results of different runs.
    """
    for key in SAME:
        if new.get(key) != old.get(key):
            raise UserError(
                f"--against: {key} is {new.get(key)} here and {old.get(key)} there; compare "
                "results of the same command"
            )
    change = statistics.median(new[RATIOS]) / statistics.median(old[RATIOS]) - 1
    return change, median_error(new[RATIOS]) + median_error(old[RATIOS])


def _is_ratio(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
