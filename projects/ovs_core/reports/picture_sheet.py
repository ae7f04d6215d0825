"""Pictures of a dataset, their truth and what several methods make of them, on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from detectron2.config import CfgNode

from ..data.build import build_mapper, dataset_dicts, evenly
from ..data.labels import load_labels
from ..draw import PaintedRegions, legend, overlay, palette, regions_to_paint, sheet
from ..engine.run import build_segmenter
from ..engine.trainer import set_test_words
from ..evaluation.semantic import OVSSemSegEvaluator
from ..files.pictures import read_picture
from ..words.label_space import label_space
from .workers import Each


def picture_sheet(
    methods: Sequence[tuple[str, CfgNode]], samples: int, *, dataset: str = "", each: Each = map
) -> np.ndarray | None:
    """Draw picture, truth and every method's labels for evenly spaced test pictures.

    Args:
        methods: title and config of each. A method that labels no pixels, such as a detector, gets
            no column; one that finds segments shows them, those of one name in different shades.
        samples: pictures.
        dataset: the pictures' dataset; "" for the one that all configs test on.
        each: how the methods are gone through; see ``workers``.

    Returns:
        (H, W, 3) RGB picture; None if no method labels pixels.
    """
    if not dataset:
        (dataset,) = {cfg.DATASETS.TEST[0] for _, cfg in methods}
    chosen = evenly(dataset_dicts([dataset]), samples)
    names = OVSSemSegEvaluator(dataset).class_names
    colors, space = palette(names), label_space(dataset)
    truth = [regions_to_paint(load_labels(d, space), colors) for d in chosen]
    predict = partial(_predict, dataset=dataset, dicts=chosen, colors=colors)
    found = zip(methods, each(predict, [cfg for _, cfg in methods]), strict=True)
    columns = {"truth": truth, **{title: regions for (title, _), regions in found if regions}}
    if len(columns) == 1:
        return None
    images = [read_picture(d["file_name"]) for d in chosen]
    drawn = [images, *([_painted(*pair) for pair in zip(images, regions, strict=True)]
                       for regions in columns.values())]  # fmt: skip
    grid = sheet(list(zip(*drawn, strict=True)), ["picture", *columns])
    return np.vstack([grid, legend(names, colors, grid.shape[1])])


def _painted(image: np.ndarray, regions: PaintedRegions) -> np.ndarray:
    return overlay(image, regions.map, regions.colors)


def _predict(
    cfg: CfgNode, dataset: str, dicts: Sequence[dict[str, Any]], colors: np.ndarray
) -> list[PaintedRegions]:
    """What a method finds in the pictures; nothing if it labels no pixels."""
    model = build_segmenter(cfg)
    if "semantic" not in model.answers:
        return []
    set_test_words(cfg, model, dataset)
    mapper, evaluator = build_mapper(cfg, is_train=False), OVSSemSegEvaluator(dataset)
    outputs = [model([mapper(d)])[0] for d in dicts]
    return [_regions(output, evaluator, colors) for output in outputs]


def _regions(
    output: dict[str, Any], evaluator: OVSSemSegEvaluator, colors: np.ndarray
) -> PaintedRegions:
    """Segments of a panoptic method; else labels, backgrounds folded as in evaluation."""
    labels = evaluator.to_labels(output).cpu().numpy()
    if "panoptic_seg" not in output:
        return regions_to_paint(labels, colors)
    ids, infos = output["panoptic_seg"]
    # What was found for background words is no class of the dataset.
    infos = [{**i, "category_id": i["category_id"] if i["category_id"] < len(colors) else -1}
             for i in infos]  # fmt: skip
    return regions_to_paint(labels, colors, segment_ids=ids.cpu().numpy(), segments_info=infos)
