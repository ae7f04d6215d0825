"""Training a config for a comparison, unless that was done before."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import yaml
from detectron2.config import CfgNode

from ..errors import UserError
from ..methods.configs import find_config
from .config import dotted_keys, load_cfg
from .run import run

PLACES = {"OUTPUT_DIR", "CONFIG_FILE", "MODEL.DEVICE"}  # say where a run was made, not what it is


def train_once(config: str, folder: Path, options: Sequence[str] = ()) -> tuple[Path, float]:
    """Train a config unless its final checkpoint is there; nothing is evaluated.

    Args:
        config: short config name or YAML file.
        folder: of the run; an unfinished run is resumed.
        options: KEY VALUE overrides.

    Returns:
        The final checkpoint, and the seconds that training took (0 if it was there).

    Raises:
        UserError: if the folder holds a run with other settings.
    """
    weights = folder / "model_final.pth"
    path = str(find_config(config))
    overrides = ["OUTPUT_DIR", str(folder), *options, "DATASETS.TEST", "()"]
    resume = (folder / "last_checkpoint").is_file()
    if resume or weights.is_file():
        _check_same_settings(load_cfg(path, overrides), folder)
    if weights.is_file():
        return weights, 0.0
    start = time.perf_counter()
    run(path, overrides, resume=resume)
    return weights, time.perf_counter() - start


def _check_same_settings(cfg: CfgNode, folder: Path) -> None:
    """Refuse a run of other settings, whose result would pass for the one that was asked for."""
    file = folder / "config.yaml"
    if not file.is_file():
        raise UserError(f"{folder}: holds weights but no config.yaml; choose another folder")
    kept, wanted = (dict(dotted_keys(yaml.safe_load(t))) for t in (file.read_text(), cfg.dump()))
    for key in sorted((kept.keys() & wanted.keys()) - PLACES):
        inner = isinstance(wanted[key], dict)  # its own keys follow
        drawn = key == "SEED" and wanted[key] < 0
        if kept[key] != wanted[key] and not (inner or drawn):
            raise UserError(
                f"{folder}: holds a training with {key} {kept[key]}, not {wanted[key]}; choose "
                "another folder, or delete this one to train again"
            )
