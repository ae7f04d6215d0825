"""`ovsuite analyse`: what regions are good for without words, what they depend on, what they cost.

They are scored against the classes of a dataset, k-means over region features giving each its
cluster (Table 8), or with --queries turned into starting values for mask queries (figure 8).
--eps and --min-samples score the grid of DBSCAN's two values with words (figure 7); --flops counts
the operations of each module (Table 2).
"""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from tabulate import tabulate

from ovs_core.commands import options
from ovs_core.data.build import build_mapper, dataset_dicts, dataset_metadata
from ovs_core.data.labels import load_labels
from ovs_core.errors import UserError
from ovs_core.evaluation import OVSSemSegEvaluator, build_evaluator
from ovs_core.files.writing import write_json
from ovs_core.reports.benchmark_inputs import smooth_picture
from ovs_core.reports.paper_figures import paper_tables
from ovs_core.reports.subjects import build_as, evenly, first_test_set, give_words
from ovs_core.words.label_space import label_space

from ..flops import count
from ..model import CLIPtrase
from ..query_init import PROJECTIONS, make_queries, save_queries
from ..sweep import draw_grid, grid_cells, sweep
from ..unsupervised import collect, evaluate_clusters

EXAMPLES = (
    "ovsuite analyse cliptrase/tiny --samples 20",
    "ovsuite analyse cliptrase/tiny --dataset embedded_sem_seg_train --samples 20 --queries 5 "
    "--width 24 --output queries.safetensors",
    "ovsuite analyse cliptrase/tiny --eps 0.5,0.7 --min-samples 2,3 --samples 4 --output grid.json",
    "ovsuite analyse cliptrase/tiny --flops",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Add which pictures are looked at, and what queries are made of them."""
    options.add_dataset(parser)
    options.add_samples(parser)
    parser.add_argument("--seed", type=int, default=0, help="of k-means")
    parser.add_argument("--queries", type=options.positive, metavar="N", help="make N queries")
    parser.add_argument("--width", type=options.positive, default=240, help="of a query")
    parser.add_argument(
        "--projection", choices=PROJECTIONS, default="pca", help="from features to queries"
    )
    parser.add_argument("--eps", type=_numbers, metavar="A,B", help="grid: values of CLUSTER.EPS")
    parser.add_argument(
        "--min-samples", type=_counts, metavar="A,B", help="grid: values of CLUSTER.MIN_SAMPLES"
    )
    parser.add_argument("--flops", action="store_true", help="count the operations of each module")
    options.add_output(parser)


def run(cfg: CfgNode, args: Namespace) -> Iterator[str]:
    """Count, score a grid, or collect the regions of a dataset and score them or make queries."""
    if args.flops:
        yield _flops(cfg)
        return
    dataset = args.dataset or first_test_set(cfg)
    if args.eps or args.min_samples:
        yield from _grid(cfg, args, dataset)
        return
    if cfg.MODEL.CLIPTRASE.PROTOCOL == "standalone":
        raise UserError(
            "regions are scored on whole pictures; set MODEL.CLIPTRASE.PROTOCOL fullres"
        )
    if dataset not in cfg.DATASETS.TEST:
        cfg.DATASETS.TEST = (dataset,)
    model = build_as(cfg, CLIPtrase)
    if model.region_rule is None:
        raise UserError(f"{args.method} finds no regions; choose a config with METHOD cliptrase")
    classes = len(dataset_metadata(dataset).stuff_classes)
    pictures = collect(model, _samples(cfg, dataset, args.samples), num_classes=classes)
    if args.queries:
        features = torch.cat([picture.features for picture in pictures])
        queries = make_queries(
            features,
            queries=args.queries,
            width=args.width,
            projection=args.projection,
            seed=args.seed,
        )
        output = args.output or Path("query_embed.safetensors")
        save_queries(queries, output)
        yield f"query_embed {tuple(queries.shape)} from {len(features)} regions: {output}"
        return
    figures, _ = evaluate_clusters(pictures, classes, seed=args.seed)
    yield "class-free: k-means over pooled region features, clusters matched to classes (Hungarian)"
    yield f"{dataset}, {len(pictures)} pictures: mIoU {figures.miou:.2f}, pACC {figures.pacc:.2f}"


def _flops(cfg: CfgNode) -> str:
    """Count the operations of a picture, module by module as Table 2 adds them."""
    side = cfg.MODEL.CLIPTRASE.IMAGE_SIZE
    picture = smooth_picture(side, side)
    ladder = {row.name: row.options for row in paper_tables("cliptrase")["2"].rows}
    counted = []
    for row in paper_tables("cliptrase")["2-flops"].rows:
        own = cfg.clone()
        own.merge_from_list(list(ladder[row.name]))
        model = build_as(own, CLIPtrase)
        give_words(own, model, None)
        counted.append((row.name, count(model, picture), row.figures["relative_flops"]["any"]))
    rows = [
        (name, f"{flops / 1e9:.2f}", f"{flops / counted[0][1]:.3f}", f"{printed:g}")
        for name, flops, printed in counted
    ]
    return str(tabulate(rows, headers=("modules", "GFLOP", "relative", "Table 2")))


def _grid(cfg: CfgNode, args: Namespace, dataset: str) -> Iterator[str]:
    """Score each pair of values on a dataset, and write the grid as JSON and as a picture."""
    cluster = cfg.MODEL.CLIPTRASE.CLUSTER
    eps, least = args.eps or [cluster.EPS], args.min_samples or [cluster.MIN_SAMPLES]
    cfg.DATASETS.TEST = (dataset,)
    model = build_as(cfg, CLIPtrase)
    give_words(cfg, model, None)
    cells = grid_cells(eps, least)
    evaluators = [_evaluator(cfg, dataset) for _ in cells]
    records, mapper = dataset_dicts([dataset]), build_mapper(cfg, is_train=False)
    records = evenly(records, args.samples or len(records))
    values = sweep(model, map(mapper, records), cells, evaluators)
    output = args.output or Path("figure_7.json")
    grid = [
        {"eps": e, "min_samples": n, "mIoU": v} for (e, n), v in zip(cells, values, strict=True)
    ]
    write_json(output, {"dataset": dataset, "pictures": len(records), "grid": grid})
    draw_grid(eps, least, values, output.with_suffix(".png"))
    rows = [
        (f"{e:g}", *(f"{v:.2f}" for v in values[i * len(least) : (i + 1) * len(least)]))
        for i, e in enumerate(eps)
    ]
    yield f"{dataset}, {len(records)} pictures: mIoU by eps (rows) and min_samples (columns)"
    yield str(tabulate(rows, headers=("eps", *map(str, least)), disable_numparse=True))
    yield f"{output} and {output.with_suffix('.png')}"


def _evaluator(cfg: CfgNode, dataset: str) -> OVSSemSegEvaluator:
    built = build_evaluator(dataset, evaluator_type=cfg.TEST.EVALUATOR or None, tasks=("semantic",))
    if not isinstance(built, OVSSemSegEvaluator):
        raise UserError(f"{dataset} is not scored by semantic labels; name another --dataset")
    built.reset()
    return built


def _numbers(text: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 < value < float("inf") for value in found):
        raise ArgumentTypeError(f"'{text}' is no list of numbers above 0 such as 0.5,0.7")
    return found


def _counts(text: str) -> list[int]:
    return [options.positive(part) for part in text.split(",")]


def _samples(
    cfg: CfgNode, dataset: str, count: int | None
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    records, mapper = dataset_dicts([dataset]), build_mapper(cfg, is_train=False)
    space = label_space(dataset)
    for record in evenly(records, count or len(records)):
        yield mapper(record), load_labels(record, space)
