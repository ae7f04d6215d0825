"""How far a result may be off: the figures that a reference file states, as bounds."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ovs_core.errors import UserError

from .case import Arrays, ParityCase


@dataclass(frozen=True)
class Tolerance:
    """How far a float array may be off; integers, booleans and strings must be equal.

    The bound of an element is ``atol + rtol * |reference| + of_max * max |reference|``.

    Attributes:
        atol: absolute part.
        rtol: part relative to the element.
        of_max: part relative to the largest reference entry of the array.
        share: share of the compared elements (0..1) that may break the bound.
        where: optional mask, broadcastable to the array; other elements are not compared.
        skip: reason why this array is no result (for example a mask used by other rows).
        insensitive: reason why a change of two percent, or of all to zero, may stay within the
            bound; without one, such an array fails.
    """

    atol: float = 0.0
    rtol: float = 0.0
    of_max: float = 0.0
    share: float = 0.0
    where: np.ndarray | None = field(default=None, repr=False)
    skip: str = ""
    insensitive: str = ""

    def __str__(self) -> str:
        """Give the non-zero parts, or ``exact``."""
        names = ("atol", "rtol", "of_max", "share")
        parts = [f"{n} {getattr(self, n):g}" for n in names if getattr(self, n)]
        text = ", ".join(parts) or "exact"
        return text + (" (masked)" if self.where is not None else "")


ToleranceRule = Callable[[ParityCase, str, Arrays], Tolerance]


def stated(case: ParityCase, *keys: str) -> list[float]:
    """Give the figures of the file's ``tolerance``, or of the entries of the header named.

    ``2e-05 * max(1e-3, max|reference|)`` gives 2e-5 and 1e-3; whole numbers are words of a
    sentence (``2 decimals``), and a file that says ``exact`` gives none.
    """
    node: Any = case.meta
    for key in keys or ("tolerance",):
        node = node.get(key, "") if isinstance(node, dict) else ""
    if isinstance(node, int | float):
        return [float(node)]
    found = re.findall(r"(?<![\w.])(?:\d+(?:\.\d+)?e-\d+|\d+\.\d+)", str(node))
    return [float(number) for number in found]


def largest_entry(reference: np.ndarray) -> float:
    """Largest size of a finite entry, 0 if there is none."""
    finite = reference[np.isfinite(reference)]
    return float(np.abs(finite).max()) if finite.size else 0.0


def is_exact(reference: np.ndarray) -> bool:
    """Whether it holds integers, booleans or text."""
    return not np.issubdtype(reference.dtype, np.inexact)


def default_tolerance(case: ParityCase, name: str, references: Arrays) -> Tolerance:
    """Read the file's ``tolerance`` entry.

    Understands a number (``times max(1, largest entry)``), ``{rtol, atol}`` (``atol`` scales with
    ``max(1, largest entry)``) and ``{rel_to_max, grad_rel_to_max}``.

    Raises:
        UserError: if the entry has another form; the method must then register its own rule.
    """
    entry = case.meta.get("tolerance")
    if is_exact(references[name]):
        return Tolerance()
    scale = max(1.0, largest_entry(references[name]))
    if isinstance(entry, (int, float)):
        return Tolerance(atol=float(entry) * scale)
    if isinstance(entry, dict) and "rel_to_max" in entry:
        key = "grad_rel_to_max" if name.startswith("grad") else "rel_to_max"
        of_max = entry[key] if key in entry else entry["rel_to_max"]
        return Tolerance(atol=1e-7, of_max=float(of_max))
    if isinstance(entry, dict) and {"rtol", "atol"} <= entry.keys():
        return Tolerance(atol=float(entry["atol"]) * scale, rtol=float(entry["rtol"]))
    raise UserError(
        f"{case.path}: tolerance {entry!r} is not a form that the default rule reads; "
        f"register a tolerance rule for kind '{case.kind}'"
    )
