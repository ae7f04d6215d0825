"""Average precision of boxes and masks, and its share on base and novel categories at IoU 0.5.

pycocotools does the matching; Detectron2's evaluator does everything around it.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..errors import UserError
from .confusion import mean_of_known
from .contract import Evaluator
from .distributed import sum_over_processes
from .instance_truth import instance_truth

logger = logging.getLogger(__name__)

RULE = "COCO AP; AP50 over categories with ground truth, others than base and novel left out"


def ap50_split(
    truth: COCO,
    detections: Sequence[Mapping[str, Any]],
    *,
    base: Sequence[int],
    novel: Sequence[int],
    kind: str = "bbox",
) -> tuple[dict[str, float], dict[int, float]]:
    """Average precision at IoU 0.5 on base and novel categories.

    Args:
        truth: COCO annotations.
        detections: COCO result records (``image_id``, ``category_id``, ``score``, ``bbox`` or
            ``segmentation``).
        base: category ids.
        novel: category ids; a category in neither list takes no part.
        kind: ``bbox`` or ``segm``.

    Returns:
        ``AP50_base``, ``AP50_novel``, ``AP50_all`` in percent (plain means over categories with
        ground truth, NaN if there is none), and the value per category id.
    """
    categories = sorted({*base, *novel})
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        found = truth.loadRes([dict(d) for d in detections]) if detections else COCO()
        run = COCOeval(truth, found, kind)
        run.params.catIds = categories
        run.params.iouThrs = np.array([0.5])
        run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ["all"]
        run.params.maxDets = [100]
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][0, :, :, 0, 0]  # (recall steps, K); -1 without ground truth
    values = [100 * p.mean() if (p > -1).all() else np.nan for p in precision.T]
    per_category = dict(zip(categories, map(float, values), strict=True))
    groups = {"base": base, "novel": novel, "all": categories}
    means = {
        f"AP50_{name}": mean_of_known(np.array([per_category[i] for i in ids], dtype=np.float64))
        for name, ids in groups.items()
    }
    return means, per_category


class OVSInstanceEvaluator(COCOEvaluator, Evaluator):
    """Detectron2's COCO evaluator with AP50 of base and novel categories.

    Base and novel categories are the metadata's ``seen_classes`` and ``unseen_classes`` (indices
    into ``thing_classes``) unless given. Masks are scored where the truth has some. Detections are
    gathered on the main process; pictures are not.

    Args:
        dataset_name: registered dataset with ``json_file``.
        output_dir: where results are written; None writes nothing.
        base: contiguous indices of base categories.
        novel: contiguous indices of novel categories.
        distributed: gather from all processes.
        config: what is evaluated; carried by the written results.
    """

    answers = "instance"
    needs = ("json_file",)

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | Path | None = None,
        *,
        base: Sequence[int] | None = None,
        novel: Sequence[int] | None = None,
        distributed: bool = True,
        config: str = "",
    ) -> None:
        metadata = MetadataCatalog.get(dataset_name)
        if not Path(metadata.json_file).is_file():
            raise UserError(f"{metadata.json_file}: annotation file of {dataset_name} is missing")
        truth = instance_truth(dataset_name, metadata)
        Evaluator.__init__(self, dataset_name, output_dir, distributed=distributed, config=config)
        folder = None if self.output_dir is None else str(self.output_dir)
        COCOEvaluator.__init__(
            self, dataset_name, distributed=distributed, output_dir=folder, use_fast_impl=False
        )
        if truth is not None:
            self._coco_api = truth
        if not any("segmentation" in one for one in self._coco_api.anns.values()):
            self._tasks = ("bbox",)
        self._check_categories()
        self.base = list(metadata.get("seen_classes", ()) if base is None else base)
        self.novel = list(metadata.get("unseen_classes", ()) if novel is None else novel)
        self._pictures = 0

    def _check_categories(self) -> None:
        """Refuse a file that lists other categories than the dataset has classes."""
        listed, classes = len(self._coco_api.getCatIds()), len(self._metadata.thing_classes)
        if listed != classes:
            raise UserError(
                f"{self._metadata.json_file}: lists {listed} categories, but {self.dataset_name} "
                f"has {classes} classes; list them all, also those without a box"
            )

    def reset(self) -> None:
        """Forget all detections."""
        super().reset()
        self._pictures = 0

    def process(self, inputs: Sequence[Mapping], outputs: Sequence[Mapping]) -> None:
        """Keep the detections of one batch.

        Args:
            inputs: dicts with ``image_id``.
            outputs: dicts with ``instances``.
        """
        for given, output in zip(inputs, outputs, strict=True):
            if given["image_id"] not in self._coco_api.imgs:
                raise UserError(
                    f"{self._metadata.json_file}: no picture with image_id {given['image_id']!r} "
                    f"({given.get('file_name')})"
                )
            self.answer_of(output, "instances")
        super().process(inputs, outputs)
        self._pictures += len(inputs)

    def evaluate(self, img_ids: list[int] | None = None) -> OrderedDict[str, Any]:
        """Match and average on the main process.

        Args:
            img_ids: score these pictures only.

        Returns:
            ``{"bbox": {...}, "segm": {...}}`` on the main process, ``{}`` on the others.

        Raises:
            UserError: if no picture was scored.
        """
        pictures = torch.tensor(self._pictures)
        if self.distributed:
            (pictures,) = sum_over_processes(pictures)
        self.check_some(int(pictures))
        return super().evaluate(img_ids)

    def _eval_predictions(
        self, predictions: list[dict[str, Any]], img_ids: list[int] | None = None
    ) -> None:
        super()._eval_predictions(predictions, img_ids)
        for key in list(self._results):
            figures = OrderedDict(self._results[key])
            if self.base and self.novel:
                figures = OrderedDict({**self._split(predictions, key), **figures})
            self._results[key] = figures
            main = {k: v for k, v in figures.items() if "-" not in k}
            names = [k.removeprefix("AP-") for k in figures if k.startswith("AP-")]
            columns = {"category": names, "AP": [figures[f"AP-{n}"] for n in names]}
            self.publish(
                rule=RULE,
                figures=main,
                classes=columns,
                pictures=len(predictions),
                stem=f"instances_{key}",
            )

    def _derive_coco_results(
        self, coco_eval: Any, iou_type: str, class_names: Sequence[str] | None = None
    ) -> dict[str, float]:
        """Name the classes in the order of the dataset's ids, in which pycocotools scores them."""
        if class_names is not None:
            indices = self._metadata.thing_dataset_id_to_contiguous_id
            class_names = [class_names[indices[id_]] for id_ in sorted(indices)]
        return super()._derive_coco_results(coco_eval, iou_type, class_names)

    def _split(self, predictions: list[dict[str, Any]], kind: str) -> dict[str, float]:
        back = {v: k for k, v in self._metadata.thing_dataset_id_to_contiguous_id.items()}
        base, novel = ([back[i] for i in group] for group in (self.base, self.novel))
        # Detectron2 has already turned the detections' categories into the dataset's.
        detections = [record for picture in predictions for record in picture["instances"]]
        means, _ = ap50_split(self._coco_api, detections, base=base, novel=novel, kind=kind)
        return means
