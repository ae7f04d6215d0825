"""Evaluation of panoptic segmentation in memory; ``panopticapi`` is not needed.

H x W pixels. Ids of a picture's segments: 0 is void.
"""

from __future__ import annotations

import json
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

from ..data.panoptic_png import color_from_segment_ids
from ..errors import UserError
from ..files.writing import atomic_write
from ..words.label_space import fold_background
from .contract import Evaluator
from .distributed import sum_over_processes
from .dump import png_bytes
from .panoptic_quality import PanopticCounts, PanopticFigures, PanopticMatcher
from .panoptic_truth import PanopticTruth
from .results import Column

logger = logging.getLogger(__name__)

RULE = "COCO panoptic: match above IoU 0.5, categories with ground truth or prediction"

Segment = dict[str, Any]


class OVSPanopticEvaluator(Evaluator):
    """Panoptic, segmentation and recognition quality for all, thing and stuff categories.

    A model's output holds ``panoptic_seg``: ids (H, W) and segments ``id``, ``category_id``. With
    ``isthing`` in a segment its category is the contiguous one, else the dataset's; without a list
    (None) ids are ``category * label_divisor + instance`` and -1 is void. Inputs carry
    ``image_id``.

    Args:
        dataset_name: registered dataset with ``panoptic_json`` and ``panoptic_root``.
        output_dir: where results are written; None writes nothing.
        dump: write predictions in COCO's form into ``output_dir/panoptic``: PNGs, and one JSON line
            per picture and process.
        distributed: sum over processes; False scores what this process saw.
        config: what is evaluated; carried by the written results.
    """

    answers = "panoptic"
    needs = ("panoptic_json", "panoptic_root")
    dumps = True

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | Path | None = None,
        *,
        dump: bool = False,
        distributed: bool = True,
        config: str = "",
    ) -> None:
        super().__init__(dataset_name, output_dir, distributed=distributed, config=config)
        self.metadata = MetadataCatalog.get(dataset_name)
        self._dump = self.dump_folder("panoptic") if dump else None
        self.truth = PanopticTruth(self.metadata)
        self._background = self.truth.background(self.metadata)
        self._to_dataset_id = {
            kind: {
                v: k
                for k, v in self.metadata.get(f"{kind}_dataset_id_to_contiguous_id", {}).items()
            }
            for kind in ("thing", "stuff")
        }
        self.reset()

    def reset(self) -> None:
        """Forget all counts."""
        self._matcher = PanopticMatcher([category["id"] for category in self.truth.categories])
        self._pictures = 0
        if self._dump is not None:
            self._dump.mkdir(parents=True, exist_ok=True)
            _lines(self._dump).write_text("")

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping]) -> None:
        """Count one batch.

        Args:
            inputs: dicts with ``image_id``.
            outputs: dicts with ``panoptic_seg``.

        Raises:
            UserError: if annotation, map and list of segments do not fit together.
        """
        for given, output in zip(inputs, outputs, strict=True):
            annotation = self.truth.annotation(given)
            predicted = self._prediction(*self.answer_of(output, "panoptic_seg"))
            ids, segments = join_background(*predicted, self._background)
            truth = self.truth.ids(annotation, given), annotation["segments_info"]
            name = annotation["file_name"]
            self._matcher.add(*join_background(*truth, self._background), ids, segments, name=name)
            self._pictures += 1
            if self._dump is not None:
                _write(self._dump, annotation, ids, segments)

    def evaluate(self) -> OrderedDict[str, Any]:
        """Sum over processes, print the table, write the files.

        Returns:
            ``{"panoptic_seg": {"PQ": ..., ...}}`` in percent on the main process, ``{}`` on others.

        Raises:
            UserError: if no picture was scored.
        """
        sums = torch.from_numpy(self._matcher.counts.sums)
        pictures = torch.tensor(self._pictures)
        if self.distributed:
            sums, pictures = sum_over_processes(sums, pictures)
        self.check_some(int(pictures))
        if not comm.is_main_process() and self.distributed:
            return OrderedDict()
        counts = PanopticCounts(sums.numpy())
        figures = PanopticFigures.of(counts)
        result, notes = OrderedDict(), []
        for suffix, group in self._groups().items():
            *means, number = figures.mean(group)
            for key, value in zip(("PQ", "SQ", "RQ"), means, strict=True):
                result[key + suffix] = 100 * value
            notes.append(f"PQ{suffix}: {number} of {int(group.sum())} categories counted")
        columns = self._columns(counts, figures)
        self.publish(
            rule=RULE, figures=dict(result), classes=columns, pictures=int(pictures), notes=notes
        )
        for name, value in zip(columns["category"], columns["PQ"], strict=True):
            result[f"PQ-{name}"] = float(value)
        return OrderedDict({self.key: result})

    def _groups(self) -> dict[str, np.ndarray]:
        things = np.array([bool(c["isthing"]) for c in self.truth.categories], dtype=bool)
        return {"": np.ones_like(things), "_th": things, "_st": ~things}

    def _columns(self, counts: PanopticCounts, figures: PanopticFigures) -> dict[str, Column]:
        tp, fp, fn, _ = counts.sums
        shares = {"PQ": figures.pq, "SQ": figures.sq, "RQ": figures.rq}
        nan = {k: np.where(figures.counted, 100 * v, np.nan) for k, v in shares.items()}
        names = [str(c.get("name", c["id"])) for c in self.truth.categories]
        return {"category": names, **nan, "TP": tp, "FP": fp, "FN": fn}

    def _prediction(
        self, ids: Tensor, segments: Sequence[Mapping[str, Any]] | None
    ) -> tuple[np.ndarray, list[Segment]]:
        """Bring a prediction to COCO's form: ids with 0 as void, the dataset's category ids."""
        array = ids.cpu().numpy()
        if segments is None:
            return self._from_coded(array)
        found = []
        for segment in segments:
            category = segment["category_id"]
            if "isthing" in segment:
                kind = "thing" if segment["isthing"] else "stuff"
                try:
                    category = self._to_dataset_id[kind][category]
                except KeyError:
                    raise UserError(
                        f"{self.dataset_name}: predicted {kind} category {category} is none of the "
                        f"dataset's {len(self._to_dataset_id[kind])}"
                    ) from None
            found.append({"id": int(segment["id"]), "category_id": int(category)})
        return array, found

    def _from_coded(self, array: np.ndarray) -> tuple[np.ndarray, list[Segment]]:
        divisor = self.metadata.label_divisor
        segments = []
        for code in np.unique(array[array != -1]).tolist():
            category = code // divisor
            kind = "thing" if category in self._to_dataset_id["thing"] else "stuff"
            category = self._to_dataset_id[kind].get(category, category)
            segments.append({"id": code + 1, "category_id": category})
        return array + 1, segments


def join_background(
    ids: np.ndarray, segments: Sequence[Segment], background: Sequence[int]
) -> tuple[np.ndarray, list[Segment]]:
    """Make all background of a picture one segment; crowds, which do not count, keep their own.

    Args:
        ids: (H, W) segment ids, 0 is void; not changed.
        segments: ``id`` and ``category_id`` of each, maybe ``area`` and ``iscrowd``.
        background: category ids of the background; the joined segment has the first.

    Returns:
        The ids and the list, joined.
    """
    if len(background) < 2:
        return ids, list(segments)
    own = [s for s in segments if s["category_id"] not in background]
    of_background = [
        {**s, "category_id": background[0]} for s in segments if s["category_id"] in background
    ]
    crowds = [s for s in of_background if s.get("iscrowd")]
    joined = [s for s in of_background if not s.get("iscrowd")]
    ids = fold_background(ids, [s["id"] for s in joined])
    areas = [s.pop("area", None) for s in joined]
    if joined and None not in areas:  # else the pixels are counted
        joined[0]["area"] = sum(areas)
    return ids, [*own, *crowds, *joined[:1]]


def _lines(folder: Path) -> Path:
    """The records of the pictures that this process saw."""
    return folder / f"predictions.rank{comm.get_rank()}.jsonl"


def _write(
    folder: Path, annotation: Mapping[str, Any], ids: np.ndarray, segments: Sequence[Segment]
) -> None:
    """Write the PNG and the JSON record of one picture; ids are renumbered to fit 24 bits."""
    name = Path(annotation["file_name"]).with_suffix(".png")
    order = {segment["id"]: i for i, segment in enumerate(segments, start=1)}
    small = np.zeros(ids.shape, dtype=np.int32)
    for old, new in order.items():
        small[ids == old] = new
    atomic_write(folder / name, png_bytes(color_from_segment_ids(small)))
    record = {
        "image_id": annotation["image_id"],
        "file_name": str(name),
        "segments_info": [{**segment, "id": order[segment["id"]]} for segment in segments],
    }
    with _lines(folder).open("a") as file:
        file.write(json.dumps(record) + "\n")
