"""One run from a config file: train, evaluate, or both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

from detectron2.config import CfgNode
from detectron2.evaluation import verify_results
from detectron2.utils import comm

from ..errors import UserError
from ..files.checkpoint_files import checkpoint_files
from ..files.locks import hold_folder
from ..files.writing import errors_name
from ..methods.configs import find_config
from ..modeling.contract import OpenVocabularyModel
from ..modeling.runtime import install_runtime
from ..modeling.runtime_rule import RuntimeRule
from .changes import check_allowed, settle_changes
from .checkpoint import OVSCheckpointer
from .config import load_cfg
from .preflight import check_in_one_process, check_own_weights, check_sets_named
from .run_folder import keep_config, open_run_folder
from .train_loader import seed_everything
from .trainer import Results, Trainer


def run(
    config_file: str,
    options: Sequence[str] = (),
    *,
    resume: bool = False,
    eval_only: bool = False,
    allow_changes: Sequence[str] = (),
    checked: bool = False,
    evaluate: Callable[[CfgNode], Results] | None = None,
) -> Results:
    """Train or evaluate as a config file says.

    Args:
        config_file: YAML file, or a short name such as ``hclip/tiny``.
        options: KEY VALUE overrides.
        resume: go on with the newest checkpoint of ``OUTPUT_DIR``.
        eval_only: evaluate ``MODEL.WEIGHTS`` (with ``resume``: the newest checkpoint) and stop.
        allow_changes: keys, or groups of keys, that a resumed training may have otherwise than
            before, although that makes it another one.
        checked: whoever started this process has called ``check_run``.
        evaluate: what evaluates in place of this process; it goes with ``eval_only``.

    Returns:
        Evaluation results of the main process; empty if nothing was evaluated.

    Raises:
        UserError: for anything that the person can mend, before work is wasted.
        OSError: if results cannot be written, for example because the disk is full.
    """
    if not config_file:
        raise UserError("no config given; use --config-file projects/<method>/configs/<name>.yaml")
    cfg = load_cfg(find_config(config_file), options)
    check_allowed(cfg, allow_changes)
    if not checked:
        check_in_one_process(cfg, resume=resume, eval_only=eval_only)
    purpose = "an evaluation" if eval_only else "a training"
    with hold_folder(cfg.OUTPUT_DIR, purpose) if comm.is_main_process() else nullcontext():
        open_run_folder(cfg, resume=resume, eval_only=eval_only)
        if resume and not eval_only and checkpoint_files(cfg.OUTPUT_DIR):
            settle_changes(cfg, allow_changes)
        if cfg.SEED < 0:
            cfg.SEED = comm.shared_random_seed()
        cfg.freeze()
        keep_config(cfg, eval_only=eval_only)
        seed_everything(cfg.SEED)  # the same in all processes, so that they build the same model
        with errors_name(cfg.OUTPUT_DIR):  # logs and records, which grow, do not name their files
            if eval_only:
                return _evaluate(cfg, evaluate or partial(_evaluate_here, resume=resume))
            trainer = Trainer(cfg)
            trainer.resume_or_load(resume=resume)
            return trainer.train()


def _evaluate_here(cfg: CfgNode, *, resume: bool) -> Results:
    return Trainer.test(cfg, build_segmenter(cfg, resume=resume))


def _evaluate(cfg: CfgNode, evaluate: Callable[[CfgNode], Results]) -> Results:
    """Evaluate a model on ``DATASETS.TEST``.

    Args:
        cfg: finished config.
        evaluate: what does it.

    Returns:
        Results of the main process.

    Raises:
        UserError: if no dataset is named.
        SystemExit: if a figure differs from ``TEST.EXPECTED_RESULTS``.
    """
    check_sets_named(cfg, eval_only=True)
    results = evaluate(cfg)
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


def build_segmenter(cfg: CfgNode, *, resume: bool = False) -> OpenVocabularyModel:
    """Build a model with its weights, ready to segment.

    Args:
        cfg: finished config.
        resume: take the newest checkpoint of ``OUTPUT_DIR`` instead of ``MODEL.WEIGHTS``.

    Returns:
        The model in eval mode, on ``MODEL.DEVICE``.

    Raises:
        UserError: if there are weights for a method that trains nothing, or its engine cannot run.
    """
    check_own_weights(cfg)
    rule = RuntimeRule.from_config(cfg)
    model = Trainer.build_model(cfg)
    OVSCheckpointer(model, cfg.OUTPUT_DIR).resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
    install_runtime(model.eval(), rule, cfg)
    return model
