"""How much DBSCAN's two values matter (figure 7): a picture is encoded once for the whole grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ovs_core.draw.charts import new_chart, save_chart
from ovs_core.errors import UserError
from ovs_core.evaluation import OVSSemSegEvaluator, semseg_figures
from ovs_core.modeling.segmenter import output_size

from .encoding import Encoded
from .mask_sources import TowerSource
from .model import CLIPtrase
from .regions import RegionRule, find_regions

Cell = tuple[float, int]


def sweep(
    model: CLIPtrase,
    samples: Iterable[Mapping[str, Any]],
    cells: Sequence[Cell],
    evaluators: Sequence[OVSSemSegEvaluator],
) -> list[float]:
    """Score a dataset with each pair of values.

    Args:
        model: with regions and words, in eval mode.
        samples: mapped pictures.
        cells: (eps, min_samples) each.
        evaluators: one for each cell, reset.

    Returns:
        mIoU in percent of each cell.

    Raises:
        UserError: for a model without regions, or one that clusters another matrix than CLIP's.
    """
    rule = model.region_rule
    if rule is None or not isinstance(model.mask_source, TowerSource):
        raise UserError(
            "--eps and --min-samples need METHOD cliptrase, CLUSTER.ENABLED True and MASK_SOURCE "
            "scr: what is clustered is CLIP's own matrix, which is computed once per picture"
        )
    rules = [replace(rule, eps=eps, min_samples=least) for eps, least in cells]
    for one in tqdm(samples, desc="grid", unit="picture"):
        with torch.no_grad():
            (encoded,) = model.encode_pictures([one["image"]], [one])
            for own, evaluator in zip(rules, evaluators, strict=True):
                scores = model.score_picture(regrouped(encoded, own), output_size(one))
                evaluator.process([one], [model.postprocess(scores)])
    counts = [evaluator.gather()[0] for evaluator in evaluators]
    return [
        evaluator.summary(semseg_figures(own), own)["mIoU"]
        for evaluator, own in zip(evaluators, counts, strict=True)
    ]


def regrouped(encoded: Encoded, rule: RegionRule) -> Encoded:
    """Find the regions of an encoded picture by another rule; its masks are made anew."""
    dense = encoded.dense
    assert dense.correlation is not None
    regions = find_regions(dense.correlation[0], dense.grid, rule, features=dense.patches[0])
    return replace(encoded, regions=regions, masks={})


def grid_cells(eps: Sequence[float], min_samples: Sequence[int]) -> list[Cell]:
    """Pair every eps with every min_samples, eps first."""
    return list(product(eps, min_samples))


def draw_grid(
    eps: Sequence[float], min_samples: Sequence[int], values: Sequence[float], path: Path
) -> None:
    """Draw a grid of figures with the number in each cell.

    Args:
        eps: one row each.
        min_samples: one column each.
        values: of ``grid_cells``.
        path: of the picture.
    """
    table = np.reshape(values, (len(eps), len(min_samples)))
    figure, axis = new_chart(1.5 + 0.8 * len(min_samples), 1.5 + 0.5 * len(eps))
    axis.imshow(table, cmap="viridis", aspect="auto")
    middle = (np.nanmin(table) + np.nanmax(table)) / 2
    for (row, column), value in np.ndenumerate(table):
        colour = "white" if value <= middle else "black"
        axis.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour)
    axis.set_xticks(range(len(min_samples)), [str(n) for n in min_samples])
    axis.set_yticks(range(len(eps)), [f"{e:g}" for e in eps])
    axis.set_xlabel("min_samples")
    axis.set_ylabel("eps")
    axis.set_title("mIoU")
    save_chart(figure, path)
