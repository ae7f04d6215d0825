"""The output folder of a run: nothing of another run is overwritten."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from ..errors import UserError
from ..evaluation.results import versions
from ..files.checkpoint_files import LAST
from ..files.writing import atomic_write, check_output_dir, write_json


def open_run_folder(cfg: CfgNode, *, resume: bool, eval_only: bool) -> Path:
    """Check and make ``OUTPUT_DIR``, and start the log.

    Args:
        cfg: finished config.
        resume: whether the run goes on with what the folder holds.
        eval_only: an evaluation may share the folder of its training run.

    Returns:
        The folder.

    Raises:
        UserError: if the folder cannot be written, or holds another training run.
    """
    folder = Path(cfg.OUTPUT_DIR)
    if comm.is_main_process():
        check_output_dir(folder)
        if not (resume or eval_only):
            refuse_other_run(folder)
    comm.synchronize()
    setup_logger.cache_clear()  # it would not write the log of a second run in this process
    for name in ("detectron2", "fvcore", "ovs_core"):
        _close_log(name)
        setup_logger(
            str(folder / ("eval" if eval_only else "train")),
            distributed_rank=comm.get_rank(),
            name=name,
        )
        _keep_traces_from_screen(name)
    return folder


def keep_config(cfg: CfgNode, *, eval_only: bool) -> None:
    """Write what a run is made with beside its results.

    Args:
        cfg: finished config.
        eval_only: whether it is an evaluation, which may share the folder of its training run.
    """
    comm.synchronize()  # others may still compare theirs with that of an earlier run
    folder = Path(cfg.OUTPUT_DIR)
    if comm.is_main_process():
        name = "config_eval.yaml" if eval_only else "config.yaml"
        atomic_write(folder / name, cfg.dump())
        if not eval_only:
            write_json(folder / "environment.json", versions())


def _keep_traces_from_screen(name: str) -> None:
    """Leave the trace of what ends a run to the log file; whoever started the run says why."""
    for handler in logging.getLogger(name).handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
            handler.addFilter(lambda record: not record.exc_info)


def _close_log(name: str) -> None:
    """End the log of an earlier run in this process, so that no line is written twice."""
    log = logging.getLogger(name)
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()


def refuse_other_run(folder: Path) -> None:
    """Refuse to begin a training where there is one.

    Raises:
        UserError: names the folder.
    """
    found = sorted(p.name for p in folder.glob("[!.]*.pth"))
    if (folder / LAST).exists() or found:
        raise UserError(
            f"OUTPUT_DIR {folder}: holds a run already ({found[0] if found else LAST}); "
            "go on with --resume, or choose another OUTPUT_DIR"
        )
