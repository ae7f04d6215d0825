"""What is verified before a model is built, so that no work is wasted on a run that must fail."""

from __future__ import annotations

from detectron2.config import CfgNode

from ..clip.loading import check_weights
from ..data.build import build_mapper, check_datasets, dataset_dicts, dataset_words
from ..files.checkpoint_files import checkpoint_files
from ..modeling.checkpoint import check_checkpoint_file
from .train_loader import check_batch, fixed_randomness


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
    trained = () if eval_only else cfg.DATASETS.TRAIN
    check_datasets([*trained, *cfg.DATASETS.TEST])
    if not eval_only:
        check_batch(cfg.SOLVER.IMS_PER_BATCH, processes)
    check_weights(cfg.MODEL.CLIP.ARCHITECTURE, cfg.MODEL.CLIP.PRETRAINED)
    if cfg.MODEL.WEIGHTS and not (resume and checkpoint_files(cfg.OUTPUT_DIR)):
        check_checkpoint_file(cfg.MODEL.WEIGHTS)
    for name in (*trained[:1], *cfg.DATASETS.TEST):  # a training has the words of its first set
        dataset_words(cfg, name)
    for name in trained:
        _check_first(cfg, name, is_train=True)
    for name in cfg.DATASETS.TEST:
        _check_first(cfg, name, is_train=False)


def _check_first(cfg: CfgNode, name: str, *, is_train: bool) -> None:
    """List a set, and read its first picture as the run will."""
    record = dataset_dicts([name])[0]
    with fixed_randomness(0):
        build_mapper(cfg, is_train=is_train)(dict(record))
