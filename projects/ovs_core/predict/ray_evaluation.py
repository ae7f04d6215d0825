"""Evaluation of a dataset on Ray: actors label and count blocks of pictures, and the counts add up.

Counts are integers, so that the figures are those of one process whatever the blocks and their
order. Nothing is kept between runs: one that was killed starts anew.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UserError
from .ray_cluster import (
    TRIES,
    Actor,
    Resources,
    Seat,
    ask,
    connected,
    forget_tries,
    refusal_of,
)

if TYPE_CHECKING:
    from detectron2.config import CfgNode
    from detectron2.evaluation import DatasetEvaluator
    from torch import Tensor, nn

    from ..engine.trainer import Results
    from ..modeling.contract import OpenVocabularyModel


@dataclass(frozen=True)
class Evaluation:
    """What every actor of an evaluation is told.

    Attributes:
        config: YAML file, or a short name.
        pairs: KEY VALUE overrides.
        resume: take the newest checkpoint of ``OUTPUT_DIR`` instead of ``MODEL.WEIGHTS``.
    """

    config: str
    pairs: Sequence[str] = ()
    resume: bool = False

    def build(self) -> tuple[CfgNode, OpenVocabularyModel]:
        """Build the model as a run of one process does."""
        from ..engine.config import load_cfg
        from ..engine.run import build_segmenter
        from ..engine.train_loader import seed_everything
        from ..methods.configs import find_config

        cfg = load_cfg(find_config(self.config), self.pairs)
        seed_everything(cfg.SEED)
        return cfg, build_segmenter(cfg, resume=self.resume)


def evaluate_on_ray(
    cfg: CfgNode, work: Evaluation, resources: Resources, block: int = 64
) -> Results:
    """Evaluate on ``DATASETS.TEST`` with the actors of a Ray cluster, or of this machine.

    Args:
        cfg: finished config of the run, with its seed.
        work: how it was asked for.
        resources: what the actors may use.
        block: so many pictures go to an actor at a time, or as many more as fill its batches.

    Returns:
        As ``Trainer.test``.

    Raises:
        UserError: if what measures a dataset cannot be added up, or an actor fails; also where
            blocks are lost, as figures of a part would be others.
    """
    from tqdm import tqdm

    from ..engine.trainer import of_sets
    from ..evaluation.oracle import marked, parts_of

    if cfg.TEST.DUMP_PREDICTIONS:
        raise UserError("TEST.DUMP_PREDICTIONS goes with --engine loop; leave it out here")
    # A picture is read where it is labelled, so that no actor starts processes of its own.
    own = ["SEED", str(cfg.SEED), "DATALOADER.NUM_WORKERS", "0"]
    work = replace(work, pairs=[*work.pairs, *own])
    evaluators = _evaluators(work)
    blocks = [part for name in evaluators for part in _blocks(cfg, name, block)]
    missing = set(range(len(blocks)))
    forget_tries(Path(cfg.OUTPUT_DIR))
    with connected(resources.address), tqdm(total=len(blocks), unit="block", disable=None) as bar:
        texts = [json.dumps(part) for part in blocks]
        for number, said in ask(CountingWorker, work, texts, resources, cfg.MODEL.DEVICE):
            missing.discard(number)
            parts = parts_of(evaluators[blocks[number][0]])
            for one, counts, oracle in zip(parts, said["counted"], said["oracle"], strict=True):
                one.add([_dense(count) for count in counts])
                one.oracle = tuple(dict.fromkeys([*one.oracle, *oracle]))
            bar.update()
    if missing:
        raise UserError(
            f"{len(missing)} of {len(blocks)} blocks were lost by Ray (its logs say why), so that "
            "there are no figures; start anew"
        )
    results: Results = OrderedDict()
    for name, evaluator in evaluators.items():
        results[name] = marked(evaluator.evaluate(), evaluator)
    return of_sets(results)


class CountingWorker(Actor):
    """Builds the model, and counts block after block: ``counted`` and ``oracle`` per evaluator."""

    def begin(self, work: Evaluation, seat: Seat) -> None:
        """Build the model."""
        self._at = ""
        self._cfg, self._model = work.build()
        self.folder = Path(self._cfg.OUTPUT_DIR)

    def do(self, number: int, block: str) -> dict[str, Any]:
        """Label and count a block."""
        from ..evaluation.oracle import parts_of

        try:
            parts = parts_of(self._count(*json.loads(block)))
        except Exception as error:
            return {"refusal": refusal_of(error)}
        counted = [[_sparse(count) for count in one.counted()] for one in parts]
        return {"counted": counted, "oracle": [one.oracle for one in parts]}

    def give_up(self, block: str) -> dict[str, Any]:
        """End the run: figures of a part would be others."""
        return {"refusal": _ended(*json.loads(block))}

    def _count(self, name: str, first: int, last: int) -> DatasetEvaluator:
        import torch

        from ..engine.trainer import Trainer

        shown, evaluator = self._of(name)
        evaluator.reset()
        with torch.no_grad():
            for inputs in Trainer.build_test_loader(self._cfg, name, slice(first, last)):
                evaluator.process(inputs, shown(inputs))
        return evaluator

    def _of(self, name: str) -> tuple[nn.Module, DatasetEvaluator]:
        """What measures a dataset; the model has its words then."""
        if name != self._at:
            self._measured, self._at = _to_measure(self._cfg, self._model, name), name
        return self._measured


def _ended(name: str, first: int, last: int) -> str:
    return (
        f"{name}: the process that counted pictures {first + 1} to {last} ended {TRIES} times (for "
        "want of memory, maybe); start anew with a smaller --block or fewer --workers"
    )


def _to_measure(
    cfg: CfgNode, model: OpenVocabularyModel, name: str
) -> tuple[nn.Module, DatasetEvaluator]:
    from ..engine.trainer import Trainer, set_test_words

    set_test_words(cfg, model, name)
    return Trainer.to_measure(cfg, model, name)


def _evaluators(work: Evaluation) -> dict[str, DatasetEvaluator]:
    """What adds the counts of each test set up; what cannot be is refused before Ray starts."""
    from ..evaluation.oracle import parts_of

    cfg, model = replace(work, pairs=[*work.pairs, "MODEL.DEVICE", "cpu"]).build()
    evaluators = {name: _to_measure(cfg, model, name)[1] for name in cfg.DATASETS.TEST}
    for evaluator in evaluators.values():
        evaluator.reset()
        for one in parts_of(evaluator):
            one.counted()
    return evaluators


def _blocks(cfg: CfgNode, name: str, size: int) -> Iterator[tuple[str, int, int]]:
    """Cut a dataset into (name, first, last), whose batches are those of one process."""
    from ..data.build import dataset_dicts

    total, batch = len(dataset_dicts([name])), cfg.TEST.IMS_PER_BATCH
    step = -(-size // batch) * batch
    for first in range(0, total, step):
        yield name, first, min(first + step, total)


def _sparse(count: Tensor) -> dict[str, list[int]]:
    flat = count.flatten()
    at = flat.nonzero()[:, 0]
    return {"shape": list(count.shape), "at": at.tolist(), "count": flat[at].tolist()}


def _dense(sparse: Mapping[str, Any]) -> Tensor:
    import torch

    flat = torch.zeros(int(np.prod(sparse["shape"])), dtype=torch.int64)
    flat[torch.tensor(sparse["at"], dtype=torch.int64)] = torch.tensor(
        sparse["count"], dtype=torch.int64
    )
    return flat.view(sparse["shape"])
