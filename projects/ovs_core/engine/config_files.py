"""Config files and the files that they stand on (``_BASE_``), read as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files.yaml_files import read_yaml
from ..methods.projects import SOURCE_ROOT

BASE_KEY = "_BASE_"
VERSION = 2  # of Detectron2's config format


def read_config(path: str | Path) -> dict[str, Any]:
    """Read a config file with everything that it stands on.

    ``_BASE_`` names one file or a list of files, seen from the folder of the file that names them.
    Later files win over earlier ones, and a file wins over its bases. They lie in the folder of
    ``path``, in folders below it, or in the suite.

    Args:
        path: YAML file.

    Returns:
        The merged map, without ``_BASE_``.

    Raises:
        UserError: for a file that cannot be read as plain values, a base elsewhere, over the
            network or in a circle, or another ``VERSION`` than 2.
    """
    path = Path(path)
    merged = _read(path, path.resolve().parent, ())
    version = merged.pop("VERSION", VERSION)
    if version != VERSION:
        raise UserError(f"{path}: VERSION is {version!r}; configs of the suite have {VERSION}")
    return merged


def _read(path: Path, root: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in above:
        raise UserError(f"{path}: stands on itself through {BASE_KEY}")
    content = read_yaml(path)
    merged: dict[str, Any] = {}
    for base in _bases(path, content.pop(BASE_KEY, [])):
        file = _locate(path, base, root)
        _merge(merged, _read(file, root, (*above, path.resolve())), path, "")
    _merge(merged, content, path, "")
    return merged


def _bases(path: Path, stated: object) -> list[str]:
    bases = [stated] if isinstance(stated, str) else stated
    if not isinstance(bases, list) or not all(isinstance(b, str) and b.strip() for b in bases):
        raise UserError(f"{path}: {BASE_KEY} is {stated!r}; expected a file name or a list of them")
    return bases


def _locate(path: Path, base: str, root: Path) -> Path:
    if "://" in base:
        raise UserError(f"{path}: {BASE_KEY} {base} lies on a network; copy the file here first")
    file = path.parent / base
    try:
        place = file.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a circle of links, or no file name
        raise UserError(f"{path}: {BASE_KEY} {base} is no file") from error
    if not any(place.is_relative_to(folder) for folder in (root, SOURCE_ROOT)):
        raise UserError(
            f"{path}: {BASE_KEY} {base} lies outside {root} and outside the suite; copy it there"
        )
    if not place.is_file():
        raise UserError(f"{path}: {BASE_KEY} {base} is no file")
    return file


def _merge(into: dict[str, Any], new: Mapping[str, Any], path: Path, prefix: str) -> None:
    for key, value in new.items():
        old = into.get(key)
        if isinstance(old, dict) and not isinstance(value, dict):
            raise UserError(f"{path}: {prefix}{key} is a group of keys, but here it is {value!r}")
        if isinstance(old, dict) and isinstance(value, dict):
            _merge(old, value, path, f"{prefix}{key}.")
        else:
            into[key] = value
