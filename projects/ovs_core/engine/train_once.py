"""Training a config for a comparison, unless that was done before."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from ..configs import find_config
from .run import run


def train_once(config: str, folder: Path, options: Sequence[str] = ()) -> tuple[Path, float]:
    """Train a config unless its final checkpoint is there; nothing is evaluated.

    Args:
        config: short config name or YAML file.
        folder: of the run; an unfinished run is resumed.
        options: KEY VALUE overrides.

    Returns:
        The final checkpoint, and the seconds that training took (0 if it was there).
    """
    weights = folder / "model_final.pth"
    if weights.is_file():
        return weights, 0.0
    start = time.perf_counter()
    resume = (folder / "last_checkpoint").is_file()
    overrides = ["OUTPUT_DIR", str(folder), "DATASETS.TEST", "()", *options]
    run(str(find_config(config)), overrides, resume=resume)
    return weights, time.perf_counter() - start
