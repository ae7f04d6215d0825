"""Pictures of what a model finds on a test set while it trains."""

from __future__ import annotations

import numpy as np
import torch
from detectron2.config import CfgNode

from ..data.build import build_mapper, dataset_dicts, evenly
from ..data.labels import load_labels
from ..draw import overlay, palette, sheet
from ..evaluation.build import choose_evaluators
from ..evaluation.semantic import OVSSemSegEvaluator
from ..files.pictures import read_picture
from ..modeling.contract import OpenVocabularyModel
from ..words.label_space import label_space


@torch.no_grad()
def validation_sheet(
    cfg: CfgNode, model: OpenVocabularyModel, name: str, samples: int
) -> np.ndarray | None:
    """Draw picture, truth and what the model finds for evenly spaced pictures of a test set.

    Args:
        cfg: finished config.
        model: with the words of the set, in any mode.
        name: the set.
        samples: pictures.

    Returns:
        (H, W, 3) uint8 RGB; None if the set or the model has no labels of pixels.
    """
    kinds = choose_evaluators(name, cfg.TEST.EVALUATOR or None)
    if "semantic" not in model.answers or OVSSemSegEvaluator not in kinds:
        return None
    evaluator = OVSSemSegEvaluator(name)
    colors, space = palette(evaluator.class_names), label_space(name)
    mapper, training = build_mapper(cfg, is_train=False), model.training
    model.eval()
    rows = []
    for record in evenly(dataset_dicts([name]), samples):
        image = read_picture(record["file_name"], exif=cfg.INPUT.EXIF)
        found = evaluator.to_labels(model([mapper(dict(record))])[0]).cpu().numpy()
        painted = [overlay(image, labels, colors) for labels in (load_labels(record, space), found)]
        rows.append([image, *painted])
    model.train(training)
    return sheet(rows, ["picture", "truth", "found"])
