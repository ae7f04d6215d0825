"""Finding config files by short names such as ``hclip/vitb16``."""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError, nearest
from ..files.checkpoint_files import checkpoint_files, named_checkpoint
from .projects import config_dir, project_names

DEFAULT_CONFIGS = ("vitb16", "tiny")


def list_methods() -> list[str]:
    """List the methods, in alphabetical order."""
    return project_names()


def list_configs(method: str | None = None) -> list[str]:
    """List short names of all configs, or of one method's.

    Files whose name begins with ``Base`` are bases for others and are left out.

    Raises:
        UserError: if there is no such method; names the nearest.
    """
    known = project_names()
    if method is not None and method not in known:
        raise UserError(
            f"no method named '{method}'.{nearest(method, known)} Known: {', '.join(known)}"
        )
    names = []
    for project in known if method is None else [method]:
        folder = config_dir(project)
        files = sorted(folder.rglob("*.yaml"))
        names += [
            f"{project}/{path.relative_to(folder).with_suffix('')}"
            for path in files
            if not path.name.lower().startswith(("base", "_"))
        ]
    return names


def find_model(name: str | Path, *, shipped: bool = True) -> tuple[Path, str]:
    """Find config and weights of a model that a person names.

    Args:
        name: what ``find_config`` takes, or the ``OUTPUT_DIR`` of a training.
        shipped: whether weights that the suite ships count; a training begins without them.

    Returns:
        YAML file, and the newest checkpoint of the ``OUTPUT_DIR``, or the weights that the suite
        ships for its config, or "".

    Raises:
        UserError: if there is no such config, or the folder holds no finished checkpoint.
    """
    folder = Path(name)
    if not folder.is_dir() or str(name) in (*project_names(), *list_configs()):
        config = find_config(name)
        return config, shipped_weights(config) if shipped else ""
    config = folder / "config.yaml"
    if not config.is_file():
        raise UserError(f"{folder}: no config.yaml in it; name the output folder of a training")
    weights = named_checkpoint(folder) or next(reversed(checkpoint_files(folder)), None)
    if weights is None:
        raise UserError(f"{folder}: holds no checkpoint; has the training saved one yet?")
    return config, str(weights)


def shipped_weights(config: Path) -> str:
    """Find the weights that the suite ships for a config of its own.

    Args:
        config: YAML file.

    Returns:
        The file of the same name in ``weights`` beside the project's ``configs``; "" without one.
    """
    config = config.resolve()
    for project in project_names():
        folder = config_dir(project).resolve()
        if config.is_relative_to(folder):
            file = folder.parent / "weights" / config.relative_to(folder)
            file = file.with_suffix(".safetensors")
            return str(file) if file.is_file() else ""
    return ""


def find_config(name: str | Path) -> Path:
    """Turn a YAML path, ``method/config`` or ``method`` into a file.

    Args:
        name: a lone method stands for its ``vitb16`` config, or ``tiny`` if it has no such.

    Raises:
        UserError: if there is no such config; names the nearest.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UserError(f"{path}: no such config file")
        return path
    method, _, config = str(name).partition("/")
    if method in project_names():
        for candidate in [config] if config else DEFAULT_CONFIGS:
            file = config_dir(method) / f"{candidate}.yaml"
            if file.is_file():
                return file
    known = list_configs()
    hint = nearest(str(name), [*project_names(), *known])
    raise UserError(f"no config named '{name}'.{hint} `ovsuite methods` lists all")
