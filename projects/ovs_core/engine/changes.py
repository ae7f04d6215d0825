"""What is asked of a run that goes on, held against what it was begun with."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from detectron2.config import CfgNode

from ..errors import UserError
from .config import dotted_keys, nearest_key
from .config_files import read_config

logger = logging.getLogger(__name__)

# Keys and groups that say where and how a run computes, not what it finds.
PLACES = ("OUTPUT_DIR", "CONFIG_FILE", "MODEL.DEVICE")
# What no step of a training depends on.
FREE = (
    *PLACES, "TRACKERS", "TEST", "DATASETS.TEST", "DATALOADER.NUM_WORKERS", "INPUT.MIN_SIZE_TEST",
    "INPUT.MAX_SIZE_TEST", "INPUT.TEST_MAPPER", "MODEL.CLIP.CACHE_DIR", "VIS_PERIOD",
    "CUDNN_BENCHMARK", "SOLVER.CHECKPOINT_PERIOD", "SOLVER.KEEP_CHECKPOINTS",
)  # fmt: skip
# Of SOLVER, these change what a step is; the others hold from the next step on.
STEP = ("SOLVER.IMS_PER_BATCH", "SOLVER.ACCUMULATE", "SOLVER.OPTIMIZER")

Changes = dict[str, tuple[Any, Any]]  # key -> value of the kept config, value that is asked for


def find_changes(cfg: CfgNode, folder: Path) -> Changes:
    """Compare a config with the one that was kept in a run's folder.

    A seed that is to be drawn is not compared, nor keys that only one of them has.

    Args:
        cfg: finished config.
        folder: output folder of the run.

    Raises:
        UserError: if the folder holds no config that can be read.
    """
    kept = dict(dotted_keys(read_config(folder / "config.yaml")))
    wanted = dict(dotted_keys(yaml.safe_load(cfg.dump())))
    return {
        key: (kept[key], wanted[key])
        for key in sorted(kept.keys() & wanted.keys())
        if kept[key] != wanted[key]
        and not isinstance(wanted[key], Mapping)  # its own keys follow
        and not (key == "SEED" and wanted[key] < 0)
    }


def among(key: str, chosen: Iterable[str]) -> bool:
    """Whether a key, or a group that it belongs to, is among the chosen ones."""
    return any(key == one or key.startswith(f"{one}.") for one in chosen)


def settle_changes(cfg: CfgNode, allowed: Sequence[str] = ()) -> None:
    """Apply, or refuse, what a run that goes on is to do otherwise than before.

    The weights that the run began with, and a seed that it drew, stay what they were.

    Args:
        cfg: finished config of a run whose ``OUTPUT_DIR`` holds a checkpoint; changed in place.
        allowed: keys, or groups of keys, whose change is accepted.

    Raises:
        UserError: if something has changed that makes it another run, and is not accepted.
    """
    folder = Path(cfg.OUTPUT_DIR)
    try:
        changes = find_changes(cfg, folder)
        kept = read_config(folder / "config.yaml")
    except UserError as error:
        logger.warning("%s; the settings of the run cannot be compared with those before", error)
        return
    _keep_start(cfg, kept, changes.pop("MODEL.WEIGHTS", None))
    changes = {key: pair for key, pair in changes.items() if not among(key, FREE)}
    refused = [key for key in changes if not (_holds_from_now(key) or among(key, allowed))]
    if refused:
        what = ", ".join(f"{key} {changes[key][0]}, not {changes[key][1]}" for key in refused)
        raise UserError(
            f"OUTPUT_DIR {folder}: holds a training with {what}; go on with what it has, choose "
            f"another OUTPUT_DIR, or accept the change: --allow-changes {' '.join(refused)}"
        )
    if changes:
        applied = ", ".join(f"{key} {old} -> {new}" for key, (old, new) in changes.items())
        logger.warning("%s: goes on with other settings: %s", folder, applied)


def check_allowed(cfg: CfgNode, allowed: Sequence[str]) -> None:
    """Refuse accepted keys that no config has.

    Raises:
        UserError: names the key and the nearest one.
    """
    known = dict(dotted_keys(cfg))
    for key in allowed:
        if key not in known:
            raise UserError(f"--allow-changes: unknown key '{key}'.{nearest_key(cfg, key)}")


def _holds_from_now(key: str) -> bool:
    return among(key, ["SOLVER"]) and key not in STEP


def _keep_start(cfg: CfgNode, kept: Mapping[str, Any], weights: tuple[Any, Any] | None) -> None:
    if weights is not None:
        cfg.MODEL.WEIGHTS = weights[0]
        if Path(weights[1]).parent != Path(cfg.OUTPUT_DIR):
            logger.warning("MODEL.WEIGHTS %s is not read: the run goes on from its own", weights[1])
    if cfg.SEED < 0:
        cfg.SEED = kept.get("SEED", cfg.SEED)
