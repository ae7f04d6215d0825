"""Reference files: settings, weights and inputs apart from the results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ovs_core.errors import UserError

from .recording import Recorded

Arrays = dict[str, np.ndarray]
FACT = "meta."  # results of this prefix meet an entry of the header


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
    meta: Recorded
    weights: Arrays
    inputs: Arrays

    @property
    def kind(self) -> str:
        """Name of the computation, which picks the runner."""
        return str(self.meta["kind"])

    @property
    def config(self) -> Recorded:
        """The ``config`` entry of the header, or the whole header if it has none."""
        return self.meta.get("config", self.meta)

    def require(self, place: str, value: Any) -> None:
        """Refuse a file that states another value than the one that the product has fixed.

        Raises:
            ValueError: if so.
        """
        stated: Any = self.meta
        for key in place.split("."):
            stated = stated[key]
        for key in stated if isinstance(stated, Recorded) else ():
            stated[key]  # compared as a whole
        if stated != value:
            raise ValueError(f"{place} is {stated!r} in the file; the product has {value!r}")

    def tensors(self, group: str = "inputs") -> dict[str, torch.Tensor]:
        """Give ``inputs`` or ``weights`` as fresh torch tensors."""
        return {name: torch.from_numpy(np.array(a)) for name, a in getattr(self, group).items()}


def read_case(path: Path) -> ParityCase:
    """Read a reference file without its results.

    Raises:
        UserError: if the file is missing, is no ``.npz`` or has no ``meta``.
    """
    groups: dict[str, Arrays] = {"w": {}, "in": {}}
    with _open(path) as file:
        meta = Recorded(json.loads(str(file["meta"])))
        for key in file.files:
            group, _, name = key.partition("/")
            if group in groups:
                groups[group][name] = file[key]
    return ParityCase(path=path, meta=meta, weights=groups["w"], inputs=groups["in"])


def read_references(path: Path) -> Arrays:
    """Read the results: ``out/x`` under ``x``, ``grad/x`` under ``grad/x``.

    Raises:
        UserError: if two results would have the same name.
    """
    with _open(path) as file:
        stored = [k for k in file.files if k.startswith(("out/", "grad/"))]
        names = [k.removeprefix("out/") for k in stored]
        if len(set(names)) < len(names):
            twice = sorted({n for n in names if names.count(n) > 1})
            raise UserError(f"{path}: results stand there twice: {', '.join(twice)}")
        return {name: file[key] for name, key in zip(names, stored, strict=True)}


def fact(value: Any) -> np.ndarray:
    """Bring a value of the header and its counterpart to a comparable array.

    Numbers stay numbers; names and records become text in which the order of names is none.
    """
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    array = np.asarray(value) if not isinstance(value, dict) else None
    if array is not None and array.dtype.kind in "biuf":
        return array
    ordered = sorted(value) if isinstance(value, list | tuple | set | frozenset) else value
    return np.array(json.dumps(ordered, sort_keys=True))


def read_facts(case: ParityCase, names: Sequence[str]) -> Arrays:
    """Read the entries of the header that results of a runner stand for.

    Raises:
        UserError: if the header has no such entry.
    """
    found: Arrays = {}
    for name in (n for n in names if n.startswith(FACT)):
        node: Any = case.meta
        for key in name.removeprefix(FACT).split("."):
            if not isinstance(node, Recorded) or key not in node:
                raise UserError(f"{case.path}: its header states no '{name}', which a runner gives")
            node = node[key]
        found[name] = fact(node)
    return found


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


def _open(path: Path) -> np.lib.npyio.NpzFile:
    try:
        file = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a readable .npz reference file ({error})") from error
    if "meta" not in getattr(file, "files", ()):
        raise UserError(f"{path}: no 'meta' entry; not a reference file")
    return file
