"""Running the product on reference vectors and comparing what comes out.

A reference file (``.npz``, no pickles) holds ``meta`` (JSON with ``kind`` and ``tolerance``),
``w/`` weights, ``in/`` inputs and ``out/`` or ``grad/`` reference results. A method plugs in with
one function per kind::

    @parity_runner("cliptrase", "encoder")
    def run_encoder(case: ParityCase) -> dict[str, np.ndarray]: ...

The runner gets weights and inputs only; the references are read after it has returned. It must
ask for every setting of the header; a fact that the header states about the results (the norm of
the gradients, the names of what trains) comes back as a result ``meta.<key>`` and is compared.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ovs_core.errors import UserError, nearest

from .case import FACT, Arrays, ParityCase, fact, find_files, read_case, read_facts, read_references
from .comparing import Row, compare, failed, format_rows
from .recording import unread
from .tolerances import Tolerance, ToleranceRule, default_tolerance, is_exact, largest_entry, stated

__all__ = [
    "Arrays", "ParityCase", "Row", "Runner", "Tolerance", "ToleranceRule", "check_file", "compare",
    "default_tolerance", "find_files", "format_rows", "kinds", "largest_entry", "methods",
    "parity_runner", "read_case", "read_references", "rule_of", "stated",
]  # fmt: skip

FACT_RTOL = 1e-4  # a fact is one figure in the header, of which files state no bound

Runner = Callable[[ParityCase], Mapping[str, "np.ndarray | torch.Tensor"]]


@dataclass(frozen=True)
class _Entry:
    run: Runner
    tolerance: ToleranceRule
    unused: Mapping[str, str]


_RUNNERS: dict[tuple[str, str], _Entry] = {}


def parity_runner(
    method: str,
    *kinds: str,
    tolerance: ToleranceRule | None = None,
    unused: Mapping[str, str] | None = None,
) -> Callable[[Runner], Runner]:
    """Register the function that computes the reference arrays of some kinds.

    Args:
        method: name typed after ``check_parity.py``.
        kinds: values of ``meta["kind"]`` that the function serves.
        tolerance: ``(case, array name, all references) -> Tolerance``; by default the file's own
            ``tolerance`` entry is read (``default_tolerance``).
        unused: keys of the header (their last part, as ``seed``) that no result depends on -> why.

    Returns:
        A decorator that leaves the function unchanged.
    """

    def register(run: Runner) -> Runner:
        for kind in kinds:
            _RUNNERS[(method, kind)] = _Entry(run, tolerance or default_tolerance, unused or {})
        return run

    return register


def check_file(method: str, path: Path) -> list[Row]:
    """Run the product on one reference file and compare every result.

    Args:
        method: registered method name.
        path: the ``.npz``.

    Returns:
        One row per reference array and compared fact; where a runner raises, all of them have
        failed. A last, failed row names the settings that the runner did not ask for.

    Raises:
        UserError: if the file cannot be read or its kind has no runner.
    """
    case = read_case(path)
    entry = _entry(method, case)
    try:
        produced = dict(entry.run(case))
    except (
        Exception
    ) as error:  # a crash is a failed file, shown in full, and the next file still runs
        traceback.print_exc()
        note = f"{type(error).__name__}: {error}"
        hidden = [failed(name, "-", "hidden by the crash") for name in read_references(path)]
        return [failed("(runner)", "-", note), *hidden]
    references = read_references(path) | read_facts(case, list(produced))
    optional = set(case.meta.get("optional", ()))
    rows = []
    for name, reference in references.items():
        ours = produced.get(name)
        bound = _bound(entry, case, name, references)
        if name in optional and ours is None:
            bound = Tolerance(skip="optional, and not produced")
        if name.startswith(FACT):
            ours = fact(ours)
        rows.append(compare(ours, reference, bound, name=name))
    return rows + _unread_row(case, entry.unused)


def rule_of(method: str, case: ParityCase) -> ToleranceRule:
    """Give the rule that bounds the results of a file."""
    return _entry(method, case).tolerance


def _entry(method: str, case: ParityCase) -> _Entry:
    entry = _RUNNERS.get((method, case.kind))
    if entry is None:
        known = kinds(method)
        raise UserError(
            f"{case.path}: no runner for kind '{case.kind}' of method '{method}'."
            f"{nearest(case.kind, known)} Known kinds: {', '.join(known) or 'none'}"
        )
    return entry


def _bound(entry: _Entry, case: ParityCase, name: str, references: Arrays) -> Tolerance:
    if name.startswith(FACT):
        return Tolerance() if is_exact(references[name]) else Tolerance(rtol=FACT_RTOL)
    return entry.tolerance(case, name, references)


def _unread_row(case: ParityCase, unused: Iterable[str]) -> list[Row]:
    names = [name for name in unread(case.meta) if name.rpartition(".")[2] not in set(unused)]
    return [failed("(settings)", "-", f"never asked for: {', '.join(names)}")] if names else []


def methods() -> list[str]:
    """List the methods that have registered a runner."""
    return sorted({method for method, _ in _RUNNERS})


def kinds(method: str) -> list[str]:
    """List the kinds that a method has registered."""
    return sorted(kind for m, kind in _RUNNERS if m == method)
