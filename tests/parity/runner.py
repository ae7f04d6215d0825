"""Running the product on reference vectors and comparing what comes out.

A reference file (``.npz``, no pickles) holds ``meta`` (JSON with ``kind`` and ``tolerance``),
``w/`` weights, ``in/`` inputs and ``out/`` or ``grad/`` reference results. A method plugs in with
one function per kind::

    @parity_runner("cliptrase", "encoder")
    def run_encoder(case: ParityCase) -> dict[str, np.ndarray]: ...

The runner gets weights and inputs only; the references are read after it has returned.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate

from ovs_core.errors import UserError, nearest

Arrays = dict[str, np.ndarray]
Runner = Callable[["ParityCase"], Mapping[str, "np.ndarray | torch.Tensor"]]


@dataclass(frozen=True)
class ParityCase:
    """One reference file without its results.

    Attributes:
        path: the file.
        meta: its JSON header: ``kind``, ``config``, ``tolerance`` and notes.
        weights: published parameter name -> array (``w/``).
        inputs: input name -> array (``in/``).
    """

    path: Path
    meta: dict
    weights: Arrays
    inputs: Arrays

    @property
    def kind(self) -> str:
        """Name of the computation, which picks the runner."""
        return str(self.meta["kind"])

    @property
    def config(self) -> dict:
        """The ``config`` entry of the header, or the whole header if it has none."""
        return self.meta.get("config", self.meta)

    def tensors(self, group: str = "inputs") -> dict[str, torch.Tensor]:
        """Give ``inputs`` or ``weights`` as fresh torch tensors."""
        return {name: torch.from_numpy(np.array(a)) for name, a in getattr(self, group).items()}


@dataclass(frozen=True)
class Tolerance:
    """How far a float array may be off; integers, booleans and strings must be equal.

    The bound of an element is ``atol + rtol * |reference| + of_max * max |reference|``.

    Attributes:
        atol: absolute part.
        rtol: part relative to the element.
        of_max: part relative to the largest reference entry of the array.
        share: share of the elements (0..1) that may break the bound.
        where: optional mask, broadcastable to the array; other elements are not compared.
        skip: reason why this array is no result (for example a mask used by other rows).
    """

    atol: float = 0.0
    rtol: float = 0.0
    of_max: float = 0.0
    share: float = 0.0
    where: np.ndarray | None = field(default=None, repr=False)
    skip: str = ""

    def __str__(self) -> str:
        """Give the non-zero parts, or ``exact``."""
        names = ("atol", "rtol", "of_max", "share")
        parts = [f"{n} {getattr(self, n):g}" for n in names if getattr(self, n)]
        text = ", ".join(parts) or "exact"
        return text + (" (masked)" if self.where is not None else "")


ToleranceRule = Callable[[ParityCase, str, Arrays], Tolerance]


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
    """

    name: str
    absolute: float
    relative: float
    tolerance: str
    passed: bool
    note: str = ""
    skipped: bool = False


@dataclass(frozen=True)
class _Entry:
    run: Runner
    tolerance: ToleranceRule


_RUNNERS: dict[tuple[str, str], _Entry] = {}


def parity_runner(
    method: str, *kinds: str, tolerance: ToleranceRule | None = None
) -> Callable[[Runner], Runner]:
    """Register the function that computes the reference arrays of some kinds.

    Args:
        method: name typed after ``check_parity.py``.
        kinds: values of ``meta["kind"]`` that the function serves.
        tolerance: ``(case, array name, all references) -> Tolerance``; by default the file's own
            ``tolerance`` entry is read (``default_tolerance``).

    Returns:
        A decorator that leaves the function unchanged.
    """

    def register(run: Runner) -> Runner:
        for kind in kinds:
            _RUNNERS[(method, kind)] = _Entry(run, tolerance or default_tolerance)
        return run

    return register


def default_tolerance(case: ParityCase, name: str, references: Arrays) -> Tolerance:
    """Read the file's ``tolerance`` entry.

    Understands a number (``times max(1, largest entry)``), ``{rtol, atol}`` (``atol`` scales with
    ``max(1, largest entry)``) and ``{rel_to_max, grad_rel_to_max}``.

    Raises:
        UserError: if the entry has another form; the method must then register its own rule.
    """
    stated = case.meta.get("tolerance")
    largest = float(np.nanmax(np.abs(references[name]))) if references[name].size else 0.0
    if isinstance(stated, (int, float)):
        return Tolerance(atol=float(stated) * max(1.0, largest))
    if isinstance(stated, dict) and "rel_to_max" in stated:
        key = "grad_rel_to_max" if name.startswith("grad") else "rel_to_max"
        of_max = stated[key] if key in stated else stated["rel_to_max"]
        return Tolerance(atol=1e-7, of_max=float(of_max))
    if isinstance(stated, dict) and {"rtol", "atol"} <= stated.keys():
        scale = max(1.0, largest)
        return Tolerance(atol=float(stated["atol"]) * scale, rtol=float(stated["rtol"]))
    raise UserError(
        f"{case.path}: tolerance {stated!r} is not a form that the default rule reads; "
        f"register a tolerance rule for kind '{case.kind}'"
    )


def read_case(path: Path) -> ParityCase:
    """Read a reference file without its results.

    Raises:
        UserError: if the file is missing, is no ``.npz`` or has no ``meta``.
    """
    groups: dict[str, Arrays] = {"w": {}, "in": {}}
    with _open(path) as file:
        meta = json.loads(str(file["meta"]))
        for key in file.files:
            group, _, name = key.partition("/")
            if group in groups:
                groups[group][name] = file[key]
    return ParityCase(path=path, meta=meta, weights=groups["w"], inputs=groups["in"])


def read_references(path: Path) -> Arrays:
    """Read the results: ``out/x`` under ``x``, ``grad/x`` under ``grad/x``."""
    with _open(path) as file:
        names = [k for k in file.files if k.startswith(("out/", "grad/"))]
        return {name.removeprefix("out/"): file[name] for name in names}


def compare(
    ours: np.ndarray | torch.Tensor | None, reference: np.ndarray, bound: Tolerance, *, name: str
) -> Row:
    """Compare one array with its reference.

    Args:
        ours: the product's array, or None if it was not produced.
        reference: the published array; NaN must meet NaN.
        bound: allowed difference.
        name: shown in the row.

    Returns:
        The finished row.
    """
    if bound.skip:
        return Row(name, float("nan"), float("nan"), "-", True, bound.skip, skipped=True)
    if ours is None:
        return Row(name, float("nan"), float("nan"), str(bound), False, "not produced")
    if isinstance(ours, torch.Tensor):
        ours = ours.detach().cpu().numpy()
    ours = np.asarray(ours)
    if ours.shape != reference.shape:
        note = f"shape {ours.shape}, expected {reference.shape}"
        return Row(name, float("nan"), float("nan"), str(bound), False, note)
    if not np.issubdtype(reference.dtype, np.inexact):
        return _compare_exact(ours, reference, bound, name)
    return _compare_floats(ours, reference, bound, name)


def _compare_exact(ours: np.ndarray, reference: np.ndarray, bound: Tolerance, name: str) -> Row:
    differs = np.asarray(ours != reference)
    if bound.where is not None:
        differs = differs & bound.where
    share = float(differs.mean()) if differs.size else 0.0
    passed = share <= bound.share
    note = "" if passed else f"{int(differs.sum())} of {differs.size} differ"
    text = f"share {bound.share:g}" if bound.share else "exact"
    return Row(
        name, share, share, text + (" (masked)" if bound.where is not None else ""), passed, note
    )


def _compare_floats(ours: np.ndarray, reference: np.ndarray, bound: Tolerance, name: str) -> Row:
    if not np.issubdtype(ours.dtype, np.number):
        return Row(name, float("nan"), float("nan"), str(bound), False, f"dtype {ours.dtype}")
    wide = np.complex128 if np.iscomplexobj(reference) else np.float64
    a, b = ours.astype(wide), reference.astype(wide)
    equal = (a == b) | (np.isnan(a) & np.isnan(b))
    if bound.where is not None:
        equal = equal | ~np.broadcast_to(bound.where, b.shape)
    magnitude = np.where(np.isfinite(b), np.abs(b), 0.0)
    largest = float(magnitude.max()) if b.size else 0.0
    with np.errstate(invalid="ignore"):
        error = np.where(equal, 0.0, np.abs(a - b))
    allowed = bound.atol + bound.rtol * magnitude + bound.of_max * largest
    broken = ~(error <= allowed)  # a NaN error is broken
    share = float(broken.mean()) if broken.size else 0.0
    worst = float(np.nanmax(error)) if error.size and not np.isnan(error).all() else 0.0
    passed = share <= bound.share
    note = "" if passed else f"{int(broken.sum())} of {broken.size} outside"
    return Row(name, worst, worst / largest if largest else worst, str(bound), passed, note)


def check_file(method: str, path: Path) -> list[Row]:
    """Run the product on one reference file and compare every result.

    Args:
        method: registered method name.
        path: the ``.npz``.

    Returns:
        One row per reference array; a runner that raises gives one failed row.

    Raises:
        UserError: if the file cannot be read or its kind has no runner.
    """
    case = read_case(path)
    entry = _RUNNERS.get((method, case.kind))
    if entry is None:
        known = sorted(k for m, k in _RUNNERS if m == method)
        raise UserError(
            f"{path}: no runner for kind '{case.kind}' of method '{method}'."
            f"{nearest(case.kind, known)} Known kinds: {', '.join(known) or 'none'}"
        )
    try:
        produced = dict(entry.run(case))
    except (
        Exception
    ) as error:  # a crash is a failed file, shown in full, and the next file still runs
        traceback.print_exc()
        nan = float("nan")
        return [Row("(runner)", nan, nan, "-", False, f"{type(error).__name__}: {error}")]
    references = read_references(path)
    optional = set(case.meta.get("optional", ()))
    names = [n for n in references if not (n in optional and n not in produced)]
    rows = []
    for name in names:
        exact = not np.issubdtype(references[name].dtype, np.inexact)
        custom = entry.tolerance is not default_tolerance
        bound = Tolerance() if exact and not custom else entry.tolerance(case, name, references)
        rows.append(compare(produced.get(name), references[name], bound, name=name))
    return rows


def find_files(paths: Sequence[Path]) -> list[Path]:
    """Expand folders to the ``.npz`` files in them.

    Raises:
        UserError: if a path does not exist or nothing is found.
    """
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder; give .npz files or folders of them")
        files += sorted(path.glob("*.npz")) if path.is_dir() else [path]
    if not files:
        raise UserError(f"{', '.join(map(str, paths))}: no .npz file found there")
    return files


def methods() -> list[str]:
    """List the methods that have registered a runner."""
    return sorted({method for method, _ in _RUNNERS})


def kinds(method: str) -> list[str]:
    """List the kinds that a method has registered."""
    return sorted(kind for m, kind in _RUNNERS if m == method)


def format_rows(rows: Sequence[Row]) -> str:
    """Lay rows out as a text table."""
    cells = [
        (r.name, f"{r.absolute:.2e}", f"{r.relative:.2e}", r.tolerance,
         "skip" if r.skipped else "pass" if r.passed else "FAIL", r.note)
        for r in rows
    ]  # fmt: skip
    headers = ("array", "abs error", "rel error", "tolerance", "result", "note")
    return tabulate(cells, headers=headers, disable_numparse=True)


def _open(path: Path) -> np.lib.npyio.NpzFile:
    try:
        file = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable .npz reference file ({error})") from error
    if "meta" not in getattr(file, "files", ()):
        raise UserError(f"{path}: no 'meta' entry; not a reference file")
    return file
