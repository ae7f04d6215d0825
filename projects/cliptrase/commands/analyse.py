"""`ovsuite analyse`: what regions are good for without words.

They are scored against the classes of a dataset, k-means over region features giving each its
cluster (Table 8), or with --queries turned into starting values for mask queries (figure 8).
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode

from ovs_core.commands import options
from ovs_core.data.build import build_mapper, dataset_dicts, dataset_metadata
from ovs_core.data.labels import load_labels
from ovs_core.errors import UserError
from ovs_core.reports.subjects import build_as, evenly, first_test_set
from ovs_core.words.label_space import label_space

from ..model import CLIPtrase
from ..query_init import PROJECTIONS, make_queries, save_queries
from ..unsupervised import collect, evaluate_clusters

EXAMPLES = (
    "ovsuite analyse cliptrase/tiny --samples 20",
    "ovsuite analyse cliptrase/tiny --dataset embedded_sem_seg_train --samples 20 --queries 5 "
    "--width 24 --output queries.safetensors",
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
    options.add_output(parser, "query_embed.safetensors")


def run(cfg: CfgNode, args: Namespace) -> Iterator[str]:
    """Collect the regions of a dataset, then score them or make queries."""
    dataset = args.dataset or first_test_set(cfg)
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
        save_queries(queries, args.output)
        yield f"query_embed {tuple(queries.shape)} from {len(features)} regions: {args.output}"
        return
    figures, _ = evaluate_clusters(pictures, classes, seed=args.seed)
    yield "class-free: k-means over pooled region features, clusters matched to classes (Hungarian)"
    yield f"{dataset}, {len(pictures)} pictures: mIoU {figures.miou:.2f}, pACC {figures.pacc:.2f}"


def _samples(
    cfg: CfgNode, dataset: str, count: int | None
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    records, mapper = dataset_dicts([dataset]), build_mapper(cfg, is_train=False)
    space = label_space(dataset)
    for record in evenly(records, count or len(records)):
        yield mapper(record), load_labels(record, space)
