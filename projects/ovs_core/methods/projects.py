"""Finding the method packages that stand beside ``ovs_core``.

A method is one folder in the source root with a ``config.py`` and a ``configs`` folder. Importing
it fills Detectron2's registries; its ``add_<name>_config`` adds its keys. Nothing in the core names
a method.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

SOURCE_ROOT = Path(__file__).resolve().parents[2]


def project_names() -> list[str]:
    """List the method packages in the source root, in alphabetical order."""
    return sorted(
        folder.name
        for folder in SOURCE_ROOT.iterdir()
        if (folder / "config.py").is_file() and (folder / "configs").is_dir()
    )


def import_projects() -> list[ModuleType]:
    """Import every method package, which fills Detectron2's registries."""
    return [importlib.import_module(name) for name in project_names()]


def config_dir(project: str) -> Path:
    """Folder of the YAML files of a project."""
    return SOURCE_ROOT / project / "configs"
