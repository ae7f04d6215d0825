"""How often true boxes are named right by the mean of their dense features, as CLIM measures it.

Letters: n boxes of a picture, K classes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.utils import comm

from ovs_core.evaluation.build import register_evaluator
from ovs_core.evaluation.confusion import mean_of_known
from ovs_core.evaluation.contract import Evaluator
from ovs_core.evaluation.distributed import sum_over_processes

LABELS = "region_labels"  # of a model's output: (n,) class of each true box
RULE = "share of the true boxes of a class that get its name, mean over classes with boxes"


class RegionAccuracy(Evaluator):
    """Mean accuracy over the classes of a dataset of boxes: base, novel, all.

    Test pictures come with their boxes (``RegionDatasetMapper``), models give ``region_labels``.
    """

    answers = "instance"
    needs = ("thing_classes",)

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | Path | None = None,
        *,
        distributed: bool = True,
        config: str = "",
    ) -> None:
        super().__init__(dataset_name, output_dir, distributed=distributed, config=config)
        metadata = MetadataCatalog.get(dataset_name)
        self.names = list(metadata.thing_classes)
        self.base = list(metadata.get("seen_classes", ()))
        self.novel = list(metadata.get("unseen_classes", ()))
        self.reset()

    @property
    def key(self) -> str:
        """Name of the result."""
        return "regions"

    def reset(self) -> None:
        """Forget all counts."""
        self._boxes, self._right = torch.zeros(2, len(self.names), dtype=torch.int64)
        self._pictures = torch.zeros(1, dtype=torch.int64)

    def process(
        self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
    ) -> None:
        """Count the boxes of one batch.

        Args:
            inputs: dicts with ``instances``, the true boxes.
            outputs: dicts with ``region_labels``.
        """
        for given, output in zip(inputs, outputs, strict=True):
            self.see_words(given)
            truth = given["instances"].gt_classes
            right = truth[self.answer_of(output, LABELS).cpu() == truth]
            self._boxes += torch.bincount(truth, minlength=len(self.names))
            self._right += torch.bincount(right, minlength=len(self.names))
            self._pictures += 1

    def evaluate(self) -> OrderedDict[str, Any]:
        """Sum over processes, print the table, write the files.

        Returns:
            ``{"regions": {metric: value}}`` in percent on the main process, ``{}`` on the others.

        Raises:
            UserError: if no picture was scored.
        """
        counts = [self._boxes, self._right, self._pictures]
        boxes, right, pictures = sum_over_processes(*counts) if self.distributed else counts
        if self.distributed and not comm.is_main_process():
            return OrderedDict()
        self.check_some(int(pictures))
        found = np.full(len(self.names), np.nan)
        np.divide(100.0 * right.numpy(), boxes.numpy(), out=found, where=boxes.numpy() > 0)
        groups = {"base": self.base, "novel": self.novel, "all": range(len(self.names))}
        figures = {
            f"mACC_{name}": mean_of_known(found[list(indices)]) for name, indices in groups.items()
        }
        columns = {"class": self.names, "ACC": found, "boxes": boxes.numpy()}
        self.publish(rule=RULE, figures=figures, classes=columns, pictures=int(pictures))
        return OrderedDict({self.key: figures})


register_evaluator("region_accuracy", RegionAccuracy)
