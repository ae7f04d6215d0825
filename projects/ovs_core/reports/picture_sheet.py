"""Pictures of a dataset, their truth and what several methods make of them, on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.config import CfgNode

from ..data.build import build_mapper, dataset_dicts
from ..data.labels import load_labels
from ..draw import legend, overlay, palette, sheet
from ..engine.run import build_segmenter
from ..engine.trainer import set_test_words
from ..evaluation.semantic import OVSSemSegEvaluator
from ..files.pictures import read_picture
from ..words.label_space import label_space


def picture_sheet(methods: Sequence[tuple[str, CfgNode]], samples: int) -> np.ndarray | None:
    """Draw picture, truth and every method's labels for evenly spaced test pictures.

    Args:
        methods: title and config of each; all test on one dataset. A method that labels no pixels,
            such as a detector, gets no column.
        samples: pictures.

    Returns:
        (H, W, 3) RGB picture; None if no method labels pixels.
    """
    (dataset,) = {cfg.DATASETS.TEST[0] for _, cfg in methods}
    dicts = dataset_dicts([dataset])
    chosen = [dicts[i] for i in np.linspace(0, len(dicts) - 1, samples).astype(int)]
    predicted = {title: _predict(cfg, dataset, chosen) for title, cfg in methods}
    columns = {title: labels for title, labels in predicted.items() if labels is not None}
    if not columns:
        return None
    names = OVSSemSegEvaluator(dataset).class_names
    colors = palette(names)
    images = [read_picture(d["file_name"]) for d in chosen]
    drawn = [images]
    space = label_space(dataset)
    for maps in ([load_labels(d, space) for d in chosen], *columns.values()):
        drawn.append([overlay(i, m, colors) for i, m in zip(images, maps, strict=True)])
    grid = sheet(list(zip(*drawn, strict=True)), ["picture", "truth", *columns])
    return np.vstack([grid, legend(names, colors, grid.shape[1])])


def _predict(
    cfg: CfgNode, dataset: str, dicts: Sequence[dict[str, Any]]
) -> list[np.ndarray] | None:
    """Label maps of the pictures, backgrounds folded as in evaluation; None if it makes none."""
    model = build_segmenter(cfg)
    if "semantic" not in model.answers:
        return None
    set_test_words(cfg, model, dataset)
    mapper, evaluator = build_mapper(cfg, is_train=False), OVSSemSegEvaluator(dataset)
    outputs = [model([mapper(d)])[0] for d in dicts]
    return [evaluator.to_labels(output).cpu().numpy() for output in outputs]
