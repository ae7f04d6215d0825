"""Average precision of masks on panoptic sets, whose thing segments are the instances.

pycocotools does the matching. No instance annotation file is needed; boxes are not scored.
"""

from __future__ import annotations

import contextlib
import io
import itertools
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.structures import Instances
from detectron2.utils import comm
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ..errors import UserError
from .contract import Evaluator
from .panoptic_truth import PanopticTruth

RULE = "COCO mask AP, 100 detections; instances are the thing segments of the panoptic truth"
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")

Record = dict[str, Any]


class OVSMaskAPEvaluator(Evaluator):
    """COCO's mask AP against the thing segments of a panoptic set; crowd segments are ignored.

    Pictures are encoded where they are seen; the encoded masks are gathered on the main process.

    Args:
        dataset_name: registered dataset with ``panoptic_json``, ``panoptic_root`` and
            ``thing_dataset_id_to_contiguous_id``.
        output_dir: where results are written; None writes nothing.
        distributed: gather from all processes; False scores what this process saw.
        config: what is evaluated; carried by the written results.
    """

    answers = "instance"
    needs = ("panoptic_json", "panoptic_root", "thing_classes")

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
        self.truth = PanopticTruth(metadata)
        self.things = [c for c in self.truth.categories if c["isthing"]]
        self._dataset_id = {
            index: id_ for id_, index in metadata.thing_dataset_id_to_contiguous_id.items()
        }
        self.reset()

    def reset(self) -> None:
        """Forget all pictures."""
        self._pictures: list[Record] = []
        self._segments: list[Record] = []
        self._detections: list[Record] = []

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping]) -> None:
        """Encode truth and detections of one batch.

        Args:
            inputs: dicts with ``image_id``.
            outputs: dicts with ``instances``; those of classes that are no things are left out.

        Raises:
            UserError: if there is no such output, or its size differs from the truth's.
        """
        for given, output in zip(inputs, outputs, strict=True):
            annotation = self.truth.annotation(given)
            found = self.answer_of(output, "instances")
            ids = self.truth.ids(annotation, given)
            if found.image_size != ids.shape:
                raise UserError(
                    f"{annotation['file_name']}: the ground truth is {ids.shape}, the prediction "
                    f"{found.image_size} (height, width)"
                )
            height, width = ids.shape
            image = {"image_id": annotation["image_id"]}
            self._pictures.append({"id": image["image_id"], "height": height, "width": width})
            self._segments += [{**image, **s} for s in self._truth_of(annotation, ids)]
            self._detections += [{**image, **d} for d in self._detections_of(found)]

    def evaluate(self) -> OrderedDict[str, Any]:
        """Match and average on the main process.

        Returns:
            ``{"segm": {"AP": ..., "AP50": ..., ...}}`` in percent, NaN where nothing could be
            measured; ``{}`` on other processes than the main one.

        Raises:
            UserError: if no picture was scored.
        """
        parts = [(self._pictures, self._segments, self._detections)]
        if self.distributed:
            parts = comm.gather(parts[0], dst=0)
            if not comm.is_main_process():
                return OrderedDict()
        pictures, segments, detections = (
            list(itertools.chain(*lists)) for lists in zip(*parts, strict=True)
        )
        self.check_some(len(pictures))
        figures, per_category = self._average(pictures, segments, detections)
        names = [str(c.get("name", c["id"])) for c in self.things]
        self.publish(
            rule=RULE,
            figures=figures,
            classes={"category": names, "AP": per_category},
            pictures=len(pictures),
        )
        for name, value in zip(names, per_category, strict=True):
            figures[f"AP-{name}"] = value
        return OrderedDict({self.key: figures})

    def _truth_of(self, annotation: Mapping[str, Any], ids: np.ndarray) -> Iterator[Record]:
        things = {category["id"] for category in self.things}
        for segment in annotation["segments_info"]:
            mask = ids == segment["id"]
            if segment["category_id"] in things and mask.any():
                code = encode(mask)
                yield {
                    "category_id": segment["category_id"],
                    "iscrowd": int(segment.get("iscrowd", 0)),
                    "segmentation": code,
                    "area": float(rle.area(code)),
                    "bbox": rle.toBbox(code).tolist(),
                }

    def _detections_of(self, found: Instances) -> Iterator[Record]:
        rows = zip(
            found.pred_classes.tolist(),
            found.scores.tolist(),
            found.pred_masks.cpu().numpy(),
            strict=True,
        )
        for index, score, mask in rows:
            if index in self._dataset_id:
                category = self._dataset_id[index]
                yield {"category_id": category, "score": score, "segmentation": encode(mask)}

    def _average(
        self, pictures: list[Record], segments: list[Record], detections: list[Record]
    ) -> tuple[OrderedDict[str, float], list[float]]:
        """The six figures, and the AP of each thing category."""
        truth = COCO()
        truth.dataset = {
            "images": pictures,
            "annotations": [{"id": i, **s} for i, s in enumerate(segments, start=1)],
            "categories": [{"id": c["id"]} for c in self.things],
        }
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            truth.createIndex()
            found = truth.loadRes(detections) if detections else COCO()
            run = COCOeval(truth, found, "segm")
            run.params.catIds = [category["id"] for category in self.things]
            run.evaluate()
            run.accumulate()
            run.summarize()
        figures = [100 * v if v >= 0 else float("nan") for v in run.stats[: len(METRICS)].tolist()]
        # (IoU thresholds, recall steps, categories, areas, numbers of detections)
        precision = run.eval["precision"][:, :, :, 0, -1]
        per_category = [
            100 * float(p.mean()) if (p > -1).all() else float("nan")
            for p in precision.transpose(2, 0, 1)
        ]
        return OrderedDict(zip(METRICS, figures, strict=True)), per_category


def encode(mask: np.ndarray) -> Record:
    """Encode an (H, W) bool mask as COCO's run lengths."""
    return rle.encode(np.asfortranarray(mask, dtype=np.uint8))
