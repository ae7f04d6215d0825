#!/usr/bin/env python
"""Time a method against the bare forward of the network it stands on, in one run.

Examples:
  python tools/benchmark.py cliptrase --size 224x224 --words 150 --threads 2
  python tools/benchmark.py hclip/vitl14 --size 640x853 --words 847 --json out.json
  python tools/benchmark.py projects/sptseg/configs/tiny.yaml MODEL.DEVICE cpu
Random weights of the real shapes are used unless --weights is given.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from tabulate import tabulate

from ovs_core.engine.config import load_cfg
from ovs_core.engine.run import build_segmenter
from ovs_core.errors import UserError
from ovs_core.files.writing import write_json
from ovs_core.methods.configs import find_config
from ovs_core.reports.benchmark import STAGES, benchmark
from ovs_core.words.class_lists import load_class_list
from ovs_core.words.vocabulary import Vocabulary


def main() -> None:
    """Build the method, time it, print a table, maybe write JSON."""
    args = _parse()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    cfg = load_cfg(find_config(args.method), args.options)
    if not args.weights and not cfg.MODEL.CLIP.ARCHITECTURE.startswith("embedded"):
        cfg.MODEL.CLIP.PRETRAINED = "random"
    if args.weights:
        cfg.MODEL.CLIP.PRETRAINED = args.weights
    cfg.MODEL.OVS.TEMPLATES = ["a photo of a {}."]
    model = build_segmenter(cfg)
    model.set_vocabulary(words(args.words))
    height, width = args.size
    picture = smooth_picture(height, width)
    result = benchmark(model, picture, args.labels or args.size, repeats=args.repeats)
    result["config"] = args.method
    _print(result)
    if args.json:
        write_json(args.json, result)
        print(f"written to {args.json}")


def words(count: int) -> Vocabulary:
    """Take the first ``count`` ADE20K-847 names, then numbered ones."""
    names = load_class_list("ade20k_847").names
    names += [f"thing number {i}" for i in range(len(names), count)]
    return Vocabulary.from_names(names[:count])


def smooth_picture(height: int, width: int) -> torch.Tensor:
    """Make a picture with regions, so that clustering methods find something to cluster."""
    seeds = torch.rand(1, 3, max(2, height // 64), max(2, width // 64)) * 255
    picture = torch.nn.functional.interpolate(seeds, size=(height, width), mode="nearest")[0]
    return (picture + 8 * torch.randn(3, height, width)).clamp(0, 255)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("method", help="project, project/config, or a YAML file")
    parser.add_argument("--size", type=_size, default=(512, 683), help="input as HxW (512x683)")
    parser.add_argument("--labels", type=_size, help="label map as HxW (default: the input's size)")
    parser.add_argument("--words", type=int, default=150, help="vocabulary size (150)")
    parser.add_argument("--repeats", type=int, default=7, help="counted rounds (7)")
    parser.add_argument("--threads", type=int, help="CPU threads (torch's default)")
    parser.add_argument("--weights", default="", help="CLIP weights instead of random ones")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("options", nargs="*", help="KEY VALUE config overrides")
    return parser.parse_intermixed_args()


def _size(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(p.isdigit() and int(p) for p in parts):
        raise argparse.ArgumentTypeError(f"'{text}' is not HEIGHTxWIDTH, for example 512x683")
    return int(parts[0]), int(parts[1])


def _print(result: dict) -> None:
    rows = [
        (stage, f"{1000 * result['seconds'][stage]:.1f}", "{:.1f} .. {:.1f}".format(
            *(1000 * s for s in result["spread"][stage])),
            f"{1000 * result['cpu_seconds'][stage]:.1f}")
        for stage in STAGES
    ]  # fmt: skip
    print(f"{result['method']} on {result['architecture']}, {result['device']}, "
          f"{result['threads']} threads, {result['words']} words")  # fmt: skip
    print(tabulate(rows, headers=("stage", "median ms", "min .. max", "processor ms")))
    low, high = result["ratio_spread"]
    print(f"ratio to bare: {result['ratio_to_bare_clip']:.3f} ({low:.3f} .. {high:.3f}); "
          f"of processor time: {result['ratio_cpu']:.3f}")  # fmt: skip
    print(f"text embeddings, first use: {result['text_seconds']:.2f} s; "
          f"peak memory of a picture: {result['peak_memory_mib']:.0f} MiB")  # fmt: skip


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
