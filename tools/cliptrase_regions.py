#!/usr/bin/env python
"""What regions are good for without words: unsupervised scoring, and starting values for queries.

Examples:
  python tools/cliptrase_regions.py score cliptrase/unsupervised/coco27
  python tools/cliptrase_regions.py score cliptrase/tiny --pictures 50
  python tools/cliptrase_regions.py queries cliptrase/vitb16 --dataset voc_20_train --pictures 500
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from cliptrase.query_init import PROJECTIONS, make_queries, save_queries
from cliptrase.unsupervised import collect, evaluate
from ovs_core.data import build_mapper, dataset_dicts
from ovs_core.data.labels import load_labels
from ovs_core.engine.config import load_cfg
from ovs_core.engine.run import build_segmenter
from ovs_core.errors import UserError
from ovs_core.methods.configs import find_config
from ovs_core.words.label_space import label_space


def main() -> None:
    """Collect the regions of a data set, then score them or make queries."""
    args = _parse()
    cfg = load_cfg(find_config(args.config), args.options)
    dataset = args.dataset or (cfg.DATASETS.TEST or ("",))[0]
    if not dataset:
        raise UserError(f"{args.config} names no data set; give --dataset")
    if cfg.MODEL.CLIPTRASE.PROTOCOL == "standalone":
        raise UserError(
            "regions are scored on whole pictures; set MODEL.CLIPTRASE.PROTOCOL fullres"
        )
    if dataset not in cfg.DATASETS.TEST:
        cfg.DATASETS.TEST = (dataset,)
    model = build_segmenter(cfg)
    if getattr(model, "region_rule", None) is None:
        raise UserError(f"{args.config} finds no regions; choose a config with METHOD cliptrase")
    names = MetadataCatalog.get(dataset).stuff_classes
    samples = _samples(cfg, dataset, args.pictures)
    pictures = collect(model, samples, num_classes=len(names))
    if args.task == "queries":
        features = torch.cat([picture.features for picture in pictures])
        queries = make_queries(
            features,
            queries=args.queries,
            width=args.width,
            projection=args.projection,
            seed=args.seed,
        )
        save_queries(queries, args.output)
        print(f"query_embed {tuple(queries.shape)} from {len(features)} regions: {args.output}")
        return
    figures, _ = evaluate(pictures, len(names), seed=args.seed)
    print(
        "class-free: k-means over pooled region features, clusters matched to classes (Hungarian)"
    )
    print(f"{dataset}, {len(pictures)} pictures: mIoU {figures.miou:.2f}, pACC {figures.pacc:.2f}")


def _samples(cfg: CfgNode, dataset: str, limit: int) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    records, mapper = dataset_dicts([dataset]), build_mapper(cfg, is_train=False)
    if limit and limit < len(records):
        chosen = np.linspace(0, len(records) - 1, limit).astype(int)
        records = [records[i] for i in chosen]
    space = label_space(dataset)
    for record in records:
        yield mapper(record), load_labels(record, space)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=("score", "queries"))
    parser.add_argument("config", help="short config name or YAML file")
    parser.add_argument("--dataset", default="", help="data set (the config's DATASETS.TEST)")
    parser.add_argument("--pictures", type=int, default=0, help="evenly spaced ones; 0 for all")
    parser.add_argument("--seed", type=int, default=0, help="of k-means (0)")
    parser.add_argument("--queries", type=int, default=100, help="number of queries (100)")
    parser.add_argument("--width", type=int, default=240, help="width of a query (240)")
    parser.add_argument("--projection", choices=PROJECTIONS, default="pca")
    parser.add_argument("--output", type=Path, default=Path("query_embed.safetensors"))
    parser.add_argument("options", nargs="*", help="KEY VALUE config overrides")
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
