"""Finding the method packages that stand beside ``ovs_core``.

A method is one folder in the source root with a ``config.py`` and a ``configs`` folder. Importing
it fills Detectron2's registries; its ``add_<name>_config`` adds its keys. Nothing in the core names
a method.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

SOURCE_ROOT = Path(__file__).resolve().parent.parent


def project_names() -> list[str]:
    """List the method packages in the source root, in alphabetical order."""
    return sorted(
        folder.name
        for folder in SOURCE_ROOT.iterdir()
        if (folder / "config.py").is_file() and (folder / "configs").is_dir()
    )


def import_projects(submodule: str | None = None) -> list[ModuleType]:
    """Import every method package, or one submodule of each and of the core's parts.

    Args:
        submodule: for example ``"parity"``; packages without it are left out.

    Returns:
        The imported modules.
    """
    if submodule is None:
        return [importlib.import_module(name) for name in project_names()]
    projects = sorted(folder.name for folder in SOURCE_ROOT.iterdir() if folder.is_dir())
    packages = [*projects, "ovs_core.data", "ovs_core.evaluation"]
    found = [name for name in packages if _has_submodule(name, submodule)]
    return [importlib.import_module(f"{name}.{submodule}") for name in found]


def config_dir(project: str) -> Path:
    """Folder of the YAML files of a project."""
    return SOURCE_ROOT / project / "configs"


def _has_submodule(package: str, submodule: str) -> bool:
    folder = SOURCE_ROOT.joinpath(*package.split("."))
    return (folder / f"{submodule}.py").is_file() or (folder / submodule).is_dir()
