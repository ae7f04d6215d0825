#!/usr/bin/env python
"""Find how sure each method is of its labels, on the embedded world.

    python tools/calibrate_confidence.py                      # all configs that are ready
    python tools/calibrate_confidence.py --only hclip/tiny --samples 40

The scale whose softmax explains the true labels best (least negative log-likelihood) is what
MODEL.OVS.CONFIDENCE_SCALE takes. Then, with that scale: how sure and how right the method is, and
what `--unknown 0.3` costs: pixels that it leaves out, the accuracy of the others, and the mIoU with
what is left out counted as wrong. The first half of the pictures gives the scale, the second the
figures.
"""

from __future__ import annotations

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from tabulate import tabulate

from ovs_core.commands.options import add_only, add_samples, read_line, tool_parser
from ovs_core.errors import UserError
from ovs_core.files.pictures import read_picture
from ovs_core.files.raster import open_raster
from ovs_core.methods.configs import list_configs
from ovs_core.predict.predictor import Predictor
from ovs_core.predict.rules import confidence

DATASET = "embedded_sem_seg_val"
UNKNOWN = 0.3
SCALES = np.geomspace(0.02, 400, 80)
STEP = 4  # every 4th row and column is looked at for the scale


def main(argv: list[str] | None = None) -> None:
    """Calibrate what is asked for, and print a table."""
    parser = tool_parser(__doc__)
    add_samples(parser, 40)
    add_only(parser)
    args = read_line(parser, argv)
    embedded = [name for name in list_configs() if name.split("/")[1].startswith("tiny")]
    rows = []
    for name in args.only or embedded:
        try:
            rows.append((name, *calibrate(name, args.samples)))
        except UserError as error:
            print(f"{name}: {str(error).splitlines()[0]}")
    headers = ("config", "scale", "right %", "sure %", "mIoU", "left out %", "others right %",
               "mIoU, unknown")  # fmt: skip
    print(tabulate(rows, headers=headers, floatfmt=".1f", tablefmt="github"))


def calibrate(name: str, samples: int) -> tuple[float, ...]:
    """Give the scale of a config, and the figures that it leads to.

    Raises:
        UserError: if it has no scores, or needs weights.
    """
    predictor = Predictor.from_config(name, device="cpu")
    if predictor.notes:
        raise UserError(predictor.notes[0])
    words = MetadataCatalog.get(DATASET).stuff_classes
    pictures = _pictures(predictor, list(words), samples)
    losses = sum(_losses(scores, truth) for scores, truth in pictures[: samples // 2])
    scale = float(SCALES[int(np.argmin(losses))])
    return (scale, *_figures(pictures[samples // 2 :], scale, len(words)))


def _pictures(
    predictor: Predictor, words: list[str], samples: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(K, H, W) scores in half precision and (H, W) truth of evenly spaced pictures."""
    records = DatasetCatalog.get(DATASET)
    found = []
    for record in records[:: max(1, len(records) // samples)][:samples]:
        scores = predictor(read_picture(record["file_name"]), words).scores
        with open_raster(record["sem_seg_file_name"]) as image:
            truth = np.asarray(image).astype(np.int64)
        found.append((torch.from_numpy(scores).half(), torch.from_numpy(truth)))
    return found


def _losses(scores: torch.Tensor, truth: torch.Tensor) -> np.ndarray:
    """Mean negative log-likelihood of the truth for each of ``SCALES``."""
    few, right = scores[:, ::STEP, ::STEP].float().flatten(1), truth[::STEP, ::STEP].flatten()
    losses = [
        torch.nn.functional.cross_entropy(few.T * float(scale), right).item() for scale in SCALES
    ]
    return np.array(losses)


def _figures(
    pictures: list[tuple[torch.Tensor, torch.Tensor]], scale: float, classes: int
) -> tuple[float, ...]:
    """Percentages: right, sure, mIoU; left out, others right, mIoU with those counted as wrong."""
    plain, strict = np.zeros((2, classes, classes + 1), np.int64)
    sure = []
    for scores, truth in pictures:
        maps = scores.float()
        labels, certain = maps.argmax(0), confidence(maps, scale)
        sure.append(float(certain.mean()))
        _count(plain, truth, labels)
        labels[certain < UNKNOWN] = classes
        _count(strict, truth, labels)
    answered = strict[:, :-1]
    return (
        100 * plain.trace() / plain.sum(), 100 * float(np.mean(sure)), _miou(plain),
        100 * strict[:, -1].sum() / strict.sum(), 100 * answered.trace() / answered.sum(),
        _miou(strict),
    )  # fmt: skip


def _count(table: np.ndarray, truth: torch.Tensor, labels: torch.Tensor) -> None:
    index = truth.flatten() * table.shape[1] + labels.flatten()
    table += np.bincount(index.numpy(), minlength=table.size).reshape(table.shape)


def _miou(table: np.ndarray) -> float:
    """Mean over the classes that occur in the truth, in percent."""
    right = np.diagonal(table[:, :-1])
    union = table.sum(1) + table[:, :-1].sum(0) - right
    occurs = table.sum(1) > 0
    return float(100 * (right[occurs] / union[occurs]).mean())


if __name__ == "__main__":
    main()
