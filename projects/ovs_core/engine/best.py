"""Keeping the weights of the best evaluation of a training."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.evaluation.testing import flatten_results_dict

from ..errors import UserError, check_choice
from ..evaluation.build import choose_evaluators
from ..evaluation.contract import RESULT_KEYS
from ..files.json_files import parse_json
from ..files.writing import write_json
from ..modeling.contract import bare
from .checkpoint import OVSCheckpointer

logger = logging.getLogger(__name__)

BEST = "model_best"


class BestCheckpoint:
    """Writes ``model_best.pth`` whenever an evaluation has the highest figure so far.

    Beside it, ``model_best.json`` says which figure that is, and of which iteration.

    Args:
        checkpointer: of the training.
        metric: as in ``metrics.json``, such as ``sem_seg/mIoU``; after the name of the set where
            there are several.
        tested: ``DATASETS.TEST``; the weights know by whose figures they were chosen.

    Raises:
        UserError: if an earlier ``model_best.json`` of the folder cannot be read.
    """

    def __init__(
        self, checkpointer: OVSCheckpointer, metric: str, tested: Sequence[str] = ()
    ) -> None:
        self.checkpointer, self.metric = checkpointer, metric
        self.chosen_on = [n for n in tested if len(tested) == 1 or metric.startswith(f"{n}/")]
        self._file = Path(checkpointer.save_dir) / f"{BEST}.json"
        self._highest = self._read()

    def offer(self, results: Mapping[str, Any], iteration: int) -> None:
        """Keep the weights if they are the best.

        Args:
            results: nested dict of an evaluation.
            iteration: of the last step before it, from 0.

        Raises:
            UserError: if the evaluation has no such figure.
        """
        figures = flatten_results_dict(results)
        check_choice("TEST.BEST_METRIC", self.metric, figures)
        value = float(figures[self.metric])
        if not value > self._highest:
            return
        self._highest = value
        earlier = bare(self.checkpointer.model).chosen_on
        chosen_on = list(dict.fromkeys([*earlier, *self.chosen_on]))
        self.checkpointer.save_weights(BEST, iteration=iteration, chosen_on=chosen_on)
        write_json(self._file, {"metric": self.metric, "value": value, "iteration": iteration})
        logger.info("%s %.4f is the best so far", self.metric, value)

    def _read(self) -> float:
        """The highest figure before a run went on, if it was of the same metric."""
        if not self._file.is_file():
            return float("-inf")
        try:
            kept = parse_json(self._file.read_text(encoding="utf-8"))
            return float(kept["value"]) if kept["metric"] == self.metric else float("-inf")
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self._file}: damaged ({error}); delete it") from error


def check_best_metric(cfg: CfgNode) -> None:
    """Refuse a ``TEST.BEST_METRIC`` that no evaluation of the training will give.

    Raises:
        UserError: if nothing is evaluated while it trains, or its group is none of the results'.
    """
    metric, tested = cfg.TEST.BEST_METRIC, cfg.DATASETS.TEST
    if not metric:
        return
    if not (cfg.TEST.EVAL_PERIOD and tested):
        raise UserError(
            f"TEST.BEST_METRIC {metric}: nothing is evaluated while it trains; set "
            "TEST.EVAL_PERIOD and DATASETS.TEST"
        )
    groups = [
        f"{name}/{key}" if len(tested) > 1 else key
        for name in tested
        for kind in choose_evaluators(name, cfg.TEST.EVALUATOR or None)
        for key in RESULT_KEYS[kind.answers]
    ]
    check_choice("TEST.BEST_METRIC, before its last /", metric.rpartition("/")[0], groups)
