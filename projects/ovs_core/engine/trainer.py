"""Training and evaluation of any method, on Detectron2's ``DefaultTrainer``."""

from __future__ import annotations

import logging
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from detectron2.engine import DefaultTrainer
from detectron2.engine.hooks import EvalHook, PeriodicCheckpointer, PeriodicWriter
from detectron2.engine.train_loop import HookBase, TrainerBase
from detectron2.evaluation import DatasetEvaluator, inference_on_dataset
from detectron2.modeling import build_model
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from torch import nn
from torch.utils.data import DataLoader

from ..data.build import build_mapper, dataset_dicts, dataset_metadata, dataset_words
from ..errors import UserError
from ..evaluation import build_evaluator
from ..evaluation.oracle import TruthWords, marked, oracle_reasons, parts_of
from ..files.writing import remove_unfinished
from ..modeling.contract import TASKS, OpenVocabularyModel, bare
from ..words.dataset_words import dataset_outside, dataset_unseen
from .best import BestCheckpoint
from .checkpoint import OVSCheckpointer
from .compiling import compile_blocks
from .config import check_device
from .gradients import share_start
from .optimizer import build_optimizer
from .parts import check_split
from .preflight import check_architecture, check_sets_named
from .progress import ProgressHook
from .schedules import build_schedule, set_iteration
from .sharding import gathered, shard
from .stopping import StopHook
from .train_loader import Sample, build_train_loader
from .train_step import TrainStep
from .validation_sheet import validation_sheet
from .writers import build_trackers

logger = logging.getLogger(__name__)

# Key of a result -> metric -> value; one level more, by dataset, for several.
Results = OrderedDict[str, Any]


class Trainer(DefaultTrainer):
    """Train a segmenter, evaluate it on ``DATASETS.TEST``, and resume exactly.

    Args:
        cfg: finished config.
    """

    def __init__(self, cfg: CfgNode) -> None:
        TrainerBase.__init__(self)
        self.cfg = cfg
        self.start_iter, self.max_iter = 0, cfg.SOLVER.MAX_ITER
        remove_unfinished(Path(cfg.OUTPUT_DIR))
        model = self.build_model(cfg)
        set_training_words(cfg, model)
        share_start(model)
        if cfg.SOLVER.FSDP:
            shard(model)
        if cfg.SOLVER.COMPILE:
            compile_blocks(model, cfg.SOLVER.COMPILE)
        optimizer = self.build_optimizer(cfg, model)
        loader, self._sampler = build_train_loader(
            cfg, dataset_dicts(cfg.DATASETS.TRAIN), build_mapper(cfg, is_train=True)
        )
        pictures = cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size()
        check_split(model.train(), pictures, cfg.SOLVER.ACCUMULATE)
        self._trainer = TrainStep(cfg, model, loader, optimizer)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = OVSCheckpointer(model, cfg.OUTPUT_DIR, trainer=weakref.proxy(self))
        self.checkpointer.shown = self._trainer.averaged
        self.checkpointer.most = cfg.SOLVER.KEEP_CHECKPOINTS
        self._best: BestCheckpoint | None = None
        if cfg.TEST.BEST_METRIC and comm.is_main_process():
            self._best = BestCheckpoint(self.checkpointer, cfg.TEST.BEST_METRIC, cfg.DATASETS.TEST)
        self._stop = StopHook()
        self.register_hooks(self.build_hooks())
        self._last_eval_results: Results = OrderedDict()  # Detectron2 compares it with the expected

    def train(self) -> Results:
        """Train to the last iteration.

        Returns:
            What the evaluation at the end gave; empty if there was none, and on other processes
            than the main one.
        """
        super().train()
        return self._last_eval_results

    def resume_or_load(self, resume: bool = True) -> None:
        """Go on with the newest checkpoint of ``OUTPUT_DIR``, or start from ``MODEL.WEIGHTS``.

        The next step has the learning rate that the config's schedule gives it.

        Raises:
            UserError: if no checkpoint of the folder can be read, or more iterations were made than
                the config asks for.
        """
        if not (resume and self.checkpointer.has_checkpoint()):
            self._trainer.model.begin_training()
        super().resume_or_load(resume)
        if not self.start_iter:
            return
        if self.start_iter > self.max_iter:
            raise UserError(
                f"SOLVER.MAX_ITER is {self.max_iter}, but the newest checkpoint of "
                f"{self.cfg.OUTPUT_DIR} is from after {self.start_iter} iterations; ask for as "
                "many or more"
            )
        set_iteration(self.scheduler, self.start_iter)
        self._sampler.start_iteration = self.start_iter * self.cfg.SOLVER.ACCUMULATE

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore all but the schedule, which is a function of the config and the iteration."""
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "hooks"})

    @classmethod
    def build_model(cls, cfg: CfgNode) -> OpenVocabularyModel:
        """Build the model and say how much of it is trained.

        Raises:
            UserError: for an unknown ``MODEL.META_ARCHITECTURE``, or a ``MODEL.DEVICE`` that this
                machine lacks.
        """
        check_device(cfg.MODEL.DEVICE)
        check_architecture(cfg)
        model = bare(build_model(cfg))
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        total = sum(p.numel() for p in model.parameters())
        logger.info(
            "%s: %s parameters, %s trained", type(model).__name__, f"{total:,}", f"{trained:,}"
        )
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """Build the optimiser with its parameter groups."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(
        cls, cfg: CfgNode, optimizer: torch.optim.Optimizer
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Build the schedule of ``SOLVER.LR_SCHEDULER_NAME``."""
        return build_schedule(cfg, optimizer)

    @classmethod
    def build_test_loader(
        cls, cfg: CfgNode, dataset_name: str, which: slice = slice(None)
    ) -> DataLoader[list[Sample]]:
        """Build the loader of a test set: each picture once over all processes.

        Args:
            cfg: finished config.
            dataset_name: registered dataset.
            which: of its pictures.
        """
        loader: DataLoader[list[Sample]] = build_detection_test_loader(
            dataset=dataset_dicts([dataset_name])[which],
            mapper=build_mapper(cfg, is_train=False),
            num_workers=cfg.DATALOADER.NUM_WORKERS,
            batch_size=cfg.TEST.IMS_PER_BATCH,
        )
        return loader

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, tasks: Sequence[str] = TASKS
    ) -> DatasetEvaluator:
        """Build the evaluator that the dataset's metadata or ``TEST.EVALUATOR`` names.

        Args:
            cfg: finished config.
            dataset_name: registered dataset.
            tasks: what the model ``answers``.
        """
        return build_evaluator(
            dataset_name,
            output_dir=Path(cfg.OUTPUT_DIR) / "inference" / dataset_name,
            evaluator_type=cfg.TEST.EVALUATOR or None,
            dump=cfg.TEST.DUMP_PREDICTIONS,
            config=cfg.CONFIG_FILE,
            tasks=tasks,
        )

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, evaluators: None = None) -> Results:
        """Evaluate on every set of ``DATASETS.TEST`` with that set's words.

        Returns:
            Task -> metric -> value for one set; set name -> task -> ... for several. Empty on other
            processes than the main one.
        """
        results: Results = OrderedDict()
        for name in cfg.DATASETS.TEST:
            loader = cls.build_test_loader(cfg, name)
            set_test_words(cfg, bare(model), name)
            results[name] = cls.measure(cfg, bare(model), name, loader)
        comm.synchronize()
        return of_sets(results)

    @classmethod
    def measure(
        cls, cfg: CfgNode, model: OpenVocabularyModel, dataset_name: str, pictures: Any
    ) -> dict[str, Any]:
        """Evaluate a model, which has its words, on a dataset.

        Args:
            cfg: finished config.
            model: the model.
            dataset_name: registered dataset.
            pictures: batches of a test loader.

        Returns:
            Task -> metric -> value, with ``oracle`` 1.0 where the figures know something of the
            truth. Empty on other processes than the main one.
        """
        shown, evaluator = cls.to_measure(cfg, model, dataset_name)
        return marked(inference_on_dataset(shown, pictures, evaluator), evaluator)

    @classmethod
    def to_measure(
        cls, cfg: CfgNode, model: OpenVocabularyModel, dataset_name: str
    ) -> tuple[nn.Module, DatasetEvaluator]:
        """Give what is evaluated on a dataset, and what measures it.

        Args:
            cfg: finished config.
            model: the model, which has its words.
            dataset_name: registered dataset.
        """
        truth_words = cfg.TEST.ORACLE_VOCABULARY
        oracle = oracle_reasons(model, dataset_name, truth_words=truth_words)
        tasks = ("semantic",) if truth_words else model.answers
        evaluator = cls.build_evaluator(cfg, dataset_name, tasks)
        for one in parts_of(evaluator):
            one.oracle, one.protocol = oracle, _protocol(cfg, model)
        return TruthWords(model, dataset_name) if truth_words else model, evaluator

    def build_hooks(self) -> list[HookBase]:
        """Use Detectron2's hooks; after an evaluation the training words are put back."""
        kept = [hook for hook in super().build_hooks() if not isinstance(hook, EvalHook)]
        writer = kept.pop() if isinstance(kept[-1], PeriodicWriter) else None
        pictures = self.cfg.SOLVER.IMS_PER_BATCH * self.cfg.SOLVER.ACCUMULATE
        kept.insert(1, ProgressHook(pictures))  # behind the timer, in front of the schedule
        if self.cfg.SOLVER.FSDP and not comm.is_main_process():  # it has a share of the checkpoints
            kept.append(PeriodicCheckpointer(self.checkpointer, self.cfg.SOLVER.CHECKPOINT_PERIOD))
        kept += [self._stop, EvalHook(self.cfg.TEST.EVAL_PERIOD, self._evaluate)]
        return kept + ([writer] if writer is not None else [])

    def build_writers(self) -> list[EventWriter]:
        """Add the services of ``TRACKERS`` in front of TensorBoard's, which clears pictures."""
        writers: list[EventWriter] = super().build_writers()
        return [*writers[:-1], *build_trackers(self.cfg), writers[-1]]

    def _log_pictures(self) -> None:
        for name in self.cfg.DATASETS.TEST:
            set_test_words(self.cfg, bare(self.model), name)
            shown = validation_sheet(self.cfg, bare(self.model), name, self.cfg.TEST.LOG_PICTURES)
            if shown is not None:
                self.storage.put_image(name, shown.transpose(2, 0, 1))

    def _evaluate(self) -> Results:
        # Where weights are shared out, one process that breaks off would leave the others waiting.
        around = nullcontext() if self.cfg.SOLVER.FSDP else self._stop.breaking_off()
        with around, self._trainer.averaged(), gathered(bare(self.model)):
            self._last_eval_results = self.test(self.cfg, self.model)
            if comm.is_main_process() and self.cfg.TEST.LOG_PICTURES:
                self._log_pictures()
        if self._best is not None:
            self._best.offer(self._last_eval_results, min(self.iter, self.max_iter - 1))
        set_training_words(self.cfg, bare(self.model))
        return self._last_eval_results


def of_sets(results: Results) -> Results:
    """Leave the name of a test set out where there is one alone."""
    return next(iter(results.values())) if len(results) == 1 else results


def set_training_words(cfg: CfgNode, model: OpenVocabularyModel) -> None:
    """Give the model the classes of the training set.

    Raises:
        UserError: if no training set is named.
    """
    check_sets_named(cfg, eval_only=False)
    _set_words(cfg, model, cfg.DATASETS.TRAIN[0])


def set_test_words(cfg: CfgNode, model: OpenVocabularyModel, dataset_name: str) -> None:
    """Give the model the classes of a test set."""
    _set_words(cfg, model, dataset_name)


def _set_words(cfg: CfgNode, model: OpenVocabularyModel, dataset_name: str) -> None:
    metadata, words = dataset_metadata(dataset_name), dataset_words(cfg, dataset_name)
    model.set_vocabulary(words, unseen=dataset_unseen(metadata), outside=dataset_outside(metadata))


def _protocol(cfg: CfgNode, model: OpenVocabularyModel) -> str:
    """How test pictures come to the network: what reads them, and what the model does then."""
    mapper, shown = cfg.INPUT.TEST_MAPPER, model.protocol_text()
    return f"{mapper}, then {shown}" if shown else str(mapper)
