"""Training a config for a comparison, unless that was done before."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode

from ..errors import UserError
from ..files.checkpoint_files import FINAL, checkpoint_files
from ..methods.configs import find_config
from .changes import PLACES, among, find_changes
from .config import load_cfg
from .run import run


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
    weights = folder / FINAL
    path = str(find_config(config))
    overrides = ["OUTPUT_DIR", str(folder), *options]
    overrides += ["DATASETS.TEST", "()", "TEST.BEST_METRIC", ""]
    resume = bool(checkpoint_files(folder))
    if resume:
        _check_same_settings(load_cfg(path, overrides), folder)
    if weights.is_file():
        return weights, 0.0
    start = time.perf_counter()
    run(path, overrides, resume=resume)
    return weights, time.perf_counter() - start


def _check_same_settings(cfg: CfgNode, folder: Path) -> None:
    """Refuse a run of other settings, whose result would pass for the one that was asked for."""
    for key, (kept, wanted) in find_changes(cfg, folder).items():
        if not among(key, PLACES):
            raise UserError(
                f"{folder}: holds a training with {key} {kept}, not {wanted}; choose another "
                "folder, or delete this one to train again"
            )
