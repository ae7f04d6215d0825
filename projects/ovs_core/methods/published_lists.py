"""What others publish for the methods: the file ``published.yaml`` of each project.

It holds what pages of papers and other projects state, and where they do; what nobody states is
not in it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ..errors import UserError
from ..files.yaml_files import read_yaml
from .projects import SOURCE_ROOT, project_names

KINDS = ("tower", "backbone", "checkpoint")


@dataclass(frozen=True)
class Statement:
    """Weights as a project's list states them; what is not stated is empty.

    Attributes:
        name: what `ovsuite weights get` takes.
        kind: one of ``KINDS``.
        file: name of the file.
        url: its address.
        page: address of a page that leads to it, where a program cannot follow.
        sha256: how its SHA-256 begins.
        licence: of the weights.
        stated_by: who says all this.
        timm: timm's name of a model, whose registry says the rest.
        configs: short names of configs that can use it.
    """

    name: str
    kind: str
    file: str = ""
    url: str = ""
    page: str = ""
    sha256: str = ""
    licence: str = ""
    stated_by: str = ""
    timm: str = ""
    configs: tuple[str, ...] = ()


def read_statements() -> list[Statement]:
    """Read the lists of all projects.

    Raises:
        UserError: if a list is no valid YAML, or has an entry that is not as above.
    """
    found = []
    for project in project_names():
        path = SOURCE_ROOT / project / "published.yaml"
        if path.is_file():
            found += [_read(name, entry, str(path)) for name, entry in read_yaml(path).items()]
    return found


def _read(name: str, entry: Any, path: str) -> Statement:
    known = {field.name for field in fields(Statement)} - {"name"}
    if not isinstance(entry, dict) or entry.keys() - known or entry.get("kind") not in KINDS:
        raise UserError(f"{path}: '{name}' must be a map of {', '.join(sorted(known))}")
    return Statement(name, **{**entry, "configs": tuple(entry.get("configs", ()))})
