"""Comparing one array with its reference, and asking whether the comparison could fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from tabulate import tabulate

from .tolerances import Tolerance, is_exact, largest_entry

NAN = float("nan")
SCALED = 1.02


@dataclass(frozen=True)
class Row:
    """Comparison of one array.

    Attributes:
        name: array name without the leading ``out/``.
        absolute: largest absolute difference (NaN when it cannot be formed).
        relative: ``absolute`` over the largest absolute reference value.
        tolerance: the bound, in words.
        passed: whether the array is within it.
        note: reason of a failure or a skip.
        skipped: whether nothing was compared; ``passed`` is then True and says nothing.
        insensitive: why two percent more, or zero, would have passed as well.
    """

    name: str
    absolute: float
    relative: float
    tolerance: str
    passed: bool
    note: str = ""
    skipped: bool = False
    insensitive: str = ""


def failed(name: str, bound: Tolerance | str, note: str) -> Row:
    """Give the row of an array of which no difference can be formed."""
    return Row(name, NAN, NAN, str(bound), False, note)


def compare(
    ours: np.ndarray | torch.Tensor | None, reference: np.ndarray, bound: Tolerance, *, name: str
) -> Row:
    """Compare one array with its reference.

    Args:
        ours: the product's array, or None if it was not produced.
        reference: the published array; NaN must meet NaN, an infinity the same one.
        bound: allowed difference.
        name: shown in the row.

    Returns:
        The finished row. An array of which the bound's mask leaves nothing is skipped; one that
        would also pass when scaled by 1.02, or wholly zero, fails unless the bound says why.
    """
    if bound.skip:
        return Row(name, NAN, NAN, "-", True, bound.skip, skipped=True)
    if ours is None:
        return failed(name, bound, "not produced")
    ours = np.asarray(ours.detach().cpu().numpy() if isinstance(ours, torch.Tensor) else ours)
    if ours.shape != reference.shape:
        return failed(name, bound, f"shape {ours.shape}, expected {reference.shape}")
    where = np.ones(reference.shape, bool)
    if bound.where is not None:
        where = np.broadcast_to(bound.where, reference.shape)
    if reference.size and not where.any():
        return Row(name, NAN, NAN, str(bound), True, "wholly masked", skipped=True)
    row = _compared(ours, reference, bound, where, name)
    return _sensitive(row, ours, reference, bound, where) if row.passed else row


def _compared(
    ours: np.ndarray, reference: np.ndarray, bound: Tolerance, where: np.ndarray, name: str
) -> Row:
    if is_exact(reference):
        return _compare_exact(ours, reference, bound, where, name)
    if not np.issubdtype(ours.dtype, np.number):
        return failed(name, bound, f"dtype {ours.dtype}")
    if np.iscomplexobj(ours) != np.iscomplexobj(reference):
        return failed(name, bound, f"dtype {ours.dtype}, expected {reference.dtype}")
    return _compare_floats(ours, reference, bound, where, name)


def _compare_exact(
    ours: np.ndarray, reference: np.ndarray, bound: Tolerance, where: np.ndarray, name: str
) -> Row:
    differs = np.asarray(ours != reference) & where
    share = float(differs.sum() / where.sum()) if differs.size else 0.0
    passed = share <= bound.share
    note = "" if passed else f"{int(differs.sum())} of {int(where.sum())} differ"
    text = f"share {bound.share:g}" if bound.share else "exact"
    masked = " (masked)" if bound.where is not None else ""
    return Row(name, share, share, text + masked, passed, note)


def _compare_floats(
    ours: np.ndarray, reference: np.ndarray, bound: Tolerance, where: np.ndarray, name: str
) -> Row:
    a, b = (_floats(x) for x in (ours, reference))
    if np.iscomplexobj(reference):
        where = np.stack([where, where], axis=-1)
    lost = (np.isnan(a) != np.isnan(b)) & where
    equal = (a == b) | (np.isnan(a) & np.isnan(b)) | ~where
    magnitude, largest = np.where(np.isfinite(b), np.abs(b), 0.0), largest_entry(b)
    with np.errstate(invalid="ignore"):
        error = np.where(equal, 0.0, np.abs(a - b))
    allowed = bound.atol + bound.rtol * magnitude + bound.of_max * largest
    if not np.isfinite(allowed).all():
        return failed(name, bound, "the bound is not finite")
    broken = ~(error <= allowed)  # a NaN error is broken
    share = float(broken.sum() / where.sum()) if broken.size else 0.0
    passed = share <= bound.share
    notes = [f"{int(broken.sum())} of {int(where.sum())} outside"] * (not passed)
    notes += [f"{int(lost.sum())} NaN on one side"] * bool(lost.any())
    worst = float(error.max()) if error.size else 0.0  # NaN if any difference is
    return Row(
        name, worst, worst / largest if largest else worst, str(bound), passed, "; ".join(notes)
    )


def _floats(array: np.ndarray) -> np.ndarray:
    """Double precision; real and imaginary parts along a last dimension of their own."""
    if np.iscomplexobj(array):
        return np.stack([array.real, array.imag], axis=-1).astype(np.float64)
    return array.astype(np.float64)


def _sensitive(
    row: Row, ours: np.ndarray, reference: np.ndarray, bound: Tolerance, where: np.ndarray
) -> Row:
    """Fail a row that two percent more, or zeros, would have passed without a stated reason."""
    survived = [
        words
        for words, other in _mutants(ours)
        if _compared(other, reference, bound, where, row.name).passed
    ]
    if not survived:
        return row
    if not _has_content(reference[where]):
        return replace(row, insensitive="nothing but zeros")
    if bound.insensitive:
        return replace(row, insensitive=bound.insensitive)
    return replace(row, passed=False, note=f"would pass {' and '.join(survived)} as well")


def _has_content(reference: np.ndarray) -> bool:
    """Whether anything but zeros and NaN is there, which no scale changes."""
    nothing = (reference != reference) | (reference == np.zeros((), reference.dtype))
    return not bool(nothing.all())


def _mutants(ours: np.ndarray) -> list[tuple[str, np.ndarray]]:
    if ours.dtype.kind in "US":
        return [("with another text", np.char.add(ours, "!")), ("empty", np.full_like(ours, ""))]
    return [(f"times {SCALED}", ours * SCALED), ("wholly zero", np.zeros_like(ours))]


def format_rows(rows: Sequence[Row]) -> str:
    """Lay rows out as a text table."""
    cells = [
        (r.name, f"{r.absolute:.2e}", f"{r.relative:.2e}", r.tolerance,
         "skip" if r.skipped else "pass" if r.passed else "FAIL",
         r.note or (f"insensitive: {r.insensitive}" if r.insensitive else ""))
        for r in rows
    ]  # fmt: skip
    headers = ("array", "abs error", "rel error", "tolerance", "result", "note")
    return tabulate(cells, headers=headers, disable_numparse=True)
