"""Evaluation of semantic segmentation: counts per picture, one sum over processes, one table.

Letters: C classes, H x W pixels.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.utils import comm
from torch import Tensor

from ..data.labels import label_path, load_labels
from ..errors import UserError
from ..words.label_space import IGNORE, fold_background, label_space
from .background import check_rule, fold_last_class
from .boundary import MAX_CLASSES, boundary_map
from .confusion import SemSegFigures, count_pairs, semseg_figures, split_figures
from .contract import Evaluator
from .distributed import sum_over_processes
from .dump import PredictionFolder
from .inputs import (
    check_prediction,
    labels_of,
    records_by_picture,
    size_text,
    split_indices,
)

logger = logging.getLogger(__name__)

RULE = "mIoU: classes in the truth; mIoU_union: classes in truth or prediction"


class OVSSemSegEvaluator(Evaluator):
    """Scores label maps against a registered dataset.

    A model's output holds ``sem_seg``, scores (C, H, W) or labels (H, W), or ``sem_seg_labels``
    (H, W), at the size of the label file. Only counts are kept, on the device of the prediction.

    Args:
        dataset_name: registered dataset whose records have label files or panoptic PNGs.
        output_dir: where results are written; None writes nothing.
        background_rule: ``none``, ``last_class`` or ``first_class``; None takes the metadata's.
        seen: indices of seen classes; None takes the metadata's ``seen_classes``.
        unseen: likewise; with neither, no seen/unseen figures are made.
        dump: write each prediction as a PNG into ``output_dir/predictions``.
        boundary: compute Boundary IoU too (below 255 classes).
        distributed: sum over processes; False scores what this process saw.
        config: what is evaluated; carried by the written results.
    """

    answers = "semantic"
    needs = ("stuff_classes",)
    dumps = True

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | Path | None = None,
        *,
        background_rule: str | None = None,
        seen: Sequence[int] | None = None,
        unseen: Sequence[int] | None = None,
        dump: bool = False,
        boundary: bool = False,
        distributed: bool = True,
        config: str = "",
    ) -> None:
        super().__init__(dataset_name, output_dir, distributed=distributed, config=config)
        metadata = MetadataCatalog.get(dataset_name)
        self.class_names = list(metadata.stuff_classes)
        self.num_classes = len(self.class_names)
        self.space = label_space(dataset_name)
        self.background_rule = check_rule(background_rule or metadata.get("background_rule"))
        self.seen, self.unseen = split_indices(metadata, self.num_classes, seen, unseen)
        self.boundary = boundary
        self.predictions = (
            PredictionFolder(self.dump_folder("predictions"), metadata.get("image_root"))
            if dump
            else None
        )
        self._records = records_by_picture(dataset_name)
        self._check_options()
        self.reset()

    def _check_options(self) -> None:
        if self.boundary and self.num_classes > MAX_CLASSES:
            raise UserError(
                f"Boundary IoU is defined up to {MAX_CLASSES} classes; {self.dataset_name} has "
                f"{self.num_classes}. Switch it off"
            )
        if self.space.num_classes != self.num_classes:
            raise UserError(
                f"{self.dataset_name}: its labels are of another class list with "
                f"{self.space.num_classes} classes, its words are {self.num_classes}; it is meant "
                "for training. Evaluate on a dataset whose labels are of its own classes"
            )
        if len(set(self.class_names)) < self.num_classes:
            twice = next(n for n in self.class_names if self.class_names.count(n) > 1)
            raise UserError(f"{self.dataset_name}: class name '{twice}' occurs more than once")

    def reset(self) -> None:
        """Forget all counts."""
        side = self.num_classes + 1
        self._counts = torch.zeros(side, side, dtype=torch.int64)
        self._border_counts = torch.zeros(side, side, dtype=torch.int64)
        self._pictures = 0

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Any]) -> None:
        """Count one batch.

        Args:
            inputs: dicts with ``file_name``.
            outputs: one dict per input with ``sem_seg`` or ``sem_seg_labels``, or such a tensor.

        Raises:
            UserError: if a label file is broken or does not fit the prediction.
        """
        for given, output in zip(inputs, outputs, strict=True):
            record = self._record(given)
            self.see_words(given)
            prediction = self.to_labels(output)
            truth = self.read_truth(record, prediction)
            if truth is None:
                continue
            check_prediction(prediction, self.num_classes, record["file_name"])
            self._add(prediction, truth)
            self._pictures += 1
            if self.predictions is not None:
                self.predictions.write(record["file_name"], prediction.cpu().numpy())

    def to_labels(self, output: Tensor | Mapping[str, Tensor]) -> Tensor:
        """Turn a model's output into (H, W) labels with all background as one class."""
        labels = labels_of(output, self.num_classes, self.background_rule)
        if self.background_rule == "last_class":
            labels = fold_last_class(labels, self.num_classes - 1)
        return fold_background(labels, self.space.background)

    def read_truth(self, record: Mapping[str, Any], prediction: Tensor) -> np.ndarray | None:
        """Read the ground truth of a picture, C where it does not count.

        Args:
            record: dataset dict.
            prediction: (H, W), whose size the truth must have.

        Returns:
            (H, W) integers in 0..C, or None to leave the picture out.

        Raises:
            UserError: if the label file is broken, of another size, or holds other values.
        """
        path = label_path(record)
        truth = load_labels(record, self.space)
        if truth.shape != tuple(prediction.shape):
            raise UserError(
                f"{path}: the labels are {size_text(truth.shape)}, the prediction for "
                f"{record['file_name']} is {size_text(prediction.shape)} (height x width); "
                "labels and pictures must have the same size"
            )
        truth[truth == IGNORE] = self.num_classes
        return truth.astype(np.int32)

    def evaluate(self) -> OrderedDict[str, Any]:
        """Sum over processes, print the table, write the files.

        Returns:
            ``{"sem_seg": {metric: value}}`` on the main process, ``{}`` on the others.

        Raises:
            UserError: if no picture was scored.
        """
        counts, border, pictures = self.gather()
        if not comm.is_main_process() and self.distributed:
            return OrderedDict()
        figures = semseg_figures(counts)
        summary = self.summary(figures, counts)
        kept = np.setdiff1d(np.arange(self.num_classes), self.space.background[1:])
        names = [self.class_names[i] for i in kept]
        columns = {"IoU": figures.iou[kept], "ACC": figures.acc[kept]}
        if self.boundary:
            columns["BoundaryIoU"] = semseg_figures(border).iou_union[kept]
        if not np.isfinite(figures.pacc):
            logger.warning("%s: every pixel is ignored; the means are NaN", self.dataset_name)
        absent = figures.absent - (self.num_classes - len(kept))
        notes = [
            f"{absent} of {len(kept)} classes are absent from the ground truth; "
            f"{figures.zero} present classes have an IoU of exactly 0"
        ]
        self.publish(
            rule=self.rule(),
            figures=summary,
            classes={"class": names, **columns},
            pictures=pictures,
            notes=notes,
        )
        result: OrderedDict[str, float] = OrderedDict(summary)
        for column, values in columns.items():
            for name, value in zip(names, values, strict=True):
                result[f"{column}-{name}"] = float(value)
        result["classes-absent"] = absent
        result["classes-zero"] = figures.zero
        return OrderedDict({self.key: result})

    def counted(self) -> list[Tensor]:
        """Counts and those of the borders, both (C + 1, C + 1), and the number of pictures."""
        return [self._counts, self._border_counts, torch.tensor(self._pictures)]

    def add(self, counts: Sequence[Tensor]) -> None:
        """Add what another evaluator has ``counted`` of other pictures."""
        inside, border, pictures = counts
        self._counts += inside.to(self._counts.device)
        self._border_counts += border
        self._pictures += int(pictures)

    def gather(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Sum the counts over processes.

        Returns:
            (C + 1, C + 1) counts, the same of the borders, and the number of pictures.

        Raises:
            UserError: if no picture was scored.
        """
        parts = self.counted()
        if self.distributed:
            parts = sum_over_processes(*parts)
        counts, border, pictures = (part.cpu().numpy() for part in parts)
        self.check_some(int(pictures))
        return counts, border, int(pictures)

    def summary(self, figures: SemSegFigures, counts: np.ndarray) -> dict[str, float]:
        """Choose the figures that head the table, in their order."""
        result = {
            "mIoU": figures.miou,
            "mIoU_union": figures.miou_union,
            "fwIoU": figures.fwiou,
            "mACC": figures.macc,
            "pACC": figures.pacc,
        }
        if self.seen and self.unseen:
            result.update(split_figures(figures, self.seen, self.unseen))
        return result

    def rule(self) -> str:
        """How the figures are defined."""
        rule = RULE if self.background_rule == "none" else f"{RULE}; {self.background_rule}"
        if len(self.space.background) < 2:
            return rule
        first, *others = (self.class_names[i] for i in self.space.background)
        return f"{rule}; {', '.join(others)} counted as {first} (background)"

    def _add(self, prediction: Tensor, truth: np.ndarray) -> None:
        self._counts = self._counts.to(prediction.device)
        on_device = torch.from_numpy(truth).to(prediction.device, non_blocking=True)
        self._counts += count_pairs(prediction, on_device, self.num_classes)
        if self.boundary:
            maps = (prediction.cpu().numpy().astype(np.int32), truth)
            ours, true = (torch.from_numpy(boundary_map(labels)) for labels in maps)
            self._border_counts += count_pairs(ours, true, self.num_classes)

    def _record(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return self._records[given["file_name"]]
        except KeyError:
            raise UserError(
                f"{given.get('file_name')}: no such picture in dataset '{self.dataset_name}'"
            ) from None
