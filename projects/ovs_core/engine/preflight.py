"""What is verified before a model is built, so that no work is wasted on a run that must fail."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils import comm

from ..clip.loading import check_weights
from ..data.build import build_mapper, check_datasets, dataset_dicts, dataset_words
from ..errors import UserError, check_choice, explain
from ..evaluation.build import choose_evaluators
from ..files.checkpoint_files import checkpoint_files
from ..modeling.checkpoint import check_checkpoint_file
from ..modeling.contract import OpenVocabularyModel
from ..modeling.runtime_rule import refuse_runtime
from .best import check_best_metric
from .compiling import check_backend
from .optimizer import check_optimizer
from .schedules import check_schedule
from .sharding import check_sharding
from .train_loader import Sample, check_batch, fixed_randomness, kept_for_training
from .writers import check_trackers


def check_in_one_process(cfg: CfgNode, *, resume: bool, eval_only: bool) -> None:
    """Verify a run in its main process; the others wait, and fail of the same line.

    Args:
        cfg: as for ``check_run``.
        resume: as for ``check_run``.
        eval_only: as for ``check_run``.

    Raises:
        UserError: in every process, for the first thing that the run would fail of.
    """
    message, cause = "", None
    if comm.is_main_process():
        try:
            check_run(cfg, processes=comm.get_world_size(), resume=resume, eval_only=eval_only)
        except Exception as error:
            message, cause = explain(error), error
            if not message:
                raise
    message = comm.all_gather(message)[0]
    if message:
        raise UserError(*message.splitlines()) from cause


def check_run(cfg: CfgNode, *, processes: int, resume: bool, eval_only: bool) -> None:
    """Verify all that a run reads: by the loaders' own rules, and without decoding whole sets.

    Args:
        cfg: finished config.
        processes: of the run, on all machines.
        resume: whether it goes on with what ``OUTPUT_DIR`` holds.
        eval_only: whether training sets and batch play no part.

    Raises:
        UserError: for the first thing that the run would fail of.
    """
    check_sets_named(cfg, eval_only=eval_only)
    check_architecture(cfg)
    check_datasets([*(() if eval_only else cfg.DATASETS.TRAIN), *cfg.DATASETS.TEST])
    if not eval_only:
        refuse_runtime(cfg, "a training")
        check_batch(cfg.SOLVER.IMS_PER_BATCH, processes)
        _refuse_scaling(cfg)
        check_best_metric(cfg)
        check_trackers(cfg.TRACKERS)
        check_optimizer(cfg)
        check_schedule(cfg)
        check_sharding(cfg, processes)
        check_backend(cfg.SOLVER.COMPILE)
    check_own_weights(cfg)
    check_weights(cfg.MODEL.CLIP.ARCHITECTURE, cfg.MODEL.CLIP.PRETRAINED)
    if cfg.MODEL.WEIGHTS and not (resume and checkpoint_files(cfg.OUTPUT_DIR)):
        check_checkpoint_file(cfg.MODEL.WEIGHTS)
    if not eval_only:
        _check_training_sets(cfg)
    for name in cfg.DATASETS.TEST:
        dataset_words(cfg, name)
        choose_evaluators(name, cfg.TEST.EVALUATOR or None)
        _map(cfg, dataset_dicts([name])[0], is_train=False)


def check_sets_named(cfg: CfgNode, *, eval_only: bool) -> None:
    """Refuse a run on nothing.

    Raises:
        UserError: names the key.
    """
    if eval_only and not cfg.DATASETS.TEST:
        raise UserError("DATASETS.TEST is empty; name the dataset to evaluate on")
    if not eval_only and not cfg.DATASETS.TRAIN:
        raise UserError("DATASETS.TRAIN is empty; name a dataset, or use --eval-only")


def check_architecture(cfg: CfgNode) -> None:
    """Refuse a ``MODEL.META_ARCHITECTURE`` that is none of the suite's.

    Raises:
        UserError: names the nearest one.
    """
    known = [name for name, kind in META_ARCH_REGISTRY if issubclass(kind, OpenVocabularyModel)]
    check_choice("MODEL.META_ARCHITECTURE", cfg.MODEL.META_ARCHITECTURE, known)


def check_own_weights(cfg: CfgNode) -> None:
    """Refuse weights of a method without any, before its CLIP is loaded; mostly a CLIP is meant.

    Raises:
        UserError: names the key that takes a CLIP's weights.
    """
    method, weights = cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.WEIGHTS
    if weights and not META_ARCH_REGISTRY.get(method).trains:
        raise UserError(
            f"--weights {weights}: {method} trains nothing and has no weights of its own; the "
            f"weights of its CLIP are MODEL.CLIP.PRETRAINED: --opts MODEL.CLIP.PRETRAINED {weights}"
        )


def _refuse_scaling(cfg: CfgNode) -> None:
    """Detectron2 scales batch, rate and steps by this key; here none depends on the processes."""
    if reference := cfg.SOLVER.REFERENCE_WORLD_SIZE:
        raise UserError(
            f"SOLVER.REFERENCE_WORLD_SIZE {reference}: nothing is scaled by the number of "
            "processes, IMS_PER_BATCH, BASE_LR and MAX_ITER are those of all together; set it to 0"
        )


def _check_training_sets(cfg: CfgNode) -> None:
    """List all sets, and read the first picture of each that the run will draw from."""
    dataset_words(cfg, cfg.DATASETS.TRAIN[0])  # a training has the words of its first set
    first: dict[str, Sample] = {}
    for record in kept_for_training(cfg, dataset_dicts(cfg.DATASETS.TRAIN)):
        first.setdefault(record["dataset_name"], record)
    for record in first.values():
        _map(cfg, record, is_train=True)


def _map(cfg: CfgNode, record: Sample, *, is_train: bool) -> None:
    with fixed_randomness(0):
        build_mapper(cfg, is_train=is_train)(dict(record))
