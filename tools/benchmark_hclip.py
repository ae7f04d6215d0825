#!/usr/bin/env python
"""Time H-CLIP's evaluation forward against a plain one and against its floor, in one run.

Examples:
  python tools/benchmark_hclip.py --words-count 150 --threads 1
  python tools/benchmark_hclip.py --memory --words-count 847 --method hclip/vitb16_whole
The whole is the image tower and the decoder on one picture of the model's size; text features are
kept, as in evaluation. The plain one (tools/hclip_reference.py) mixes DCRC anew in every block and
aggregates without sharing or fusing anything; both give the same logits, which is checked. The
floor is the bare CLIP image forward plus the decoder's floating point operations at the best rate
that a large matrix product or a 3 x 3 convolution reaches here. All take turns; seconds are
processor time, of which other processes take no part, unless --wall is given. --memory measures
the peak of a whole first call instead, text features and label map included, and compares the
labels with those of the decoder without chunks.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from hclip_reference import reference_logits
from tabulate import tabulate
from torch import Tensor
from torch.nn import functional as F

from hclip import CATSeg
from hclip.model import ImageFeatures
from hclip.pop import CodeRelation
from hclip.rotation import POPAdaptation
from ovs_core.commands import guarded, options
from ovs_core.engine.config import load_cfg
from ovs_core.errors import UserError
from ovs_core.files.writing import write_json
from ovs_core.methods.configs import find_config
from ovs_core.reports.benchmark import peak_memory
from ovs_core.reports.benchmark_inputs import numbered_words, smooth_picture
from ovs_core.reports.subjects import build_as
from ovs_core.tensor.operations import OperationCounter

UNCHUNKED = ("MODEL.CATSEG.CLASS_CHUNK", "0")
cpu_time = time.process_time
STAGES = ("bare", "encode", "decode", "whole", "plain")


def main() -> int:
    """Build the model with random weights, time it, print a table, maybe write JSON.

    Returns:
        0.
    """
    parser = options.tool_parser(__doc__)
    options.add_method(parser)
    parser.set_defaults(method="hclip/vitb16")
    parser.add_argument("--words-count", type=options.positive, default=150, help="classes")
    parser.add_argument("--rounds", type=options.positive, default=5, help="counted rounds")
    parser.add_argument("--threads", type=options.positive, default=1, help="CPU threads")
    parser.add_argument("--wall", action="store_true", help="wall time instead of processor time")
    parser.add_argument("--memory", action="store_true", help="peak memory instead of time")
    options.add_output(parser)
    options.add_opts(parser)
    args = options.read_line(parser)
    torch.set_num_threads(args.threads)
    model = disturbed_model(args.method, args.opts)
    model.set_vocabulary(numbered_words(args.words_count))
    if args.memory:
        result = measure_memory(model, disturbed_model(args.method, [*args.opts, *UNCHUNKED]))
        print(json.dumps(result, indent=2))
        return 0
    images = torch.randn(1, 3, model.image_size, model.image_size)
    result = time_stages(model, images, args.rounds, time.perf_counter if args.wall else cpu_time)
    result |= {
        "config": args.method, "words": args.words_count, "clock": "wall" if args.wall else "cpu"
    }  # fmt: skip
    _print(result)
    if args.output:
        write_json(args.output, result)
    return 0


def measure_memory(model: CATSeg, unchunked: CATSeg) -> dict[str, object]:
    """Segment one picture of the model's size with both.

    Args:
        model: words set; nothing was segmented with it.
        unchunked: the same without chunks.

    Returns:
        Peaks above what was in use before, in MiB, and the share of pixels with the same label.
    """
    side = model.image_size
    picture = {"image": smooth_picture(side, side), "height": side, "width": side}
    labels: dict[CATSeg, Tensor] = {}
    unchunked.set_vocabulary(model.vocabulary)

    def segment(one: CATSeg) -> None:
        labels[one] = one([picture])[0]["sem_seg_labels"]

    peaks = [peak_memory(partial(segment, one)) / 2**20 for one in (model, unchunked)]
    same = (labels[model] == labels[unchunked]).double().mean()
    return {
        "peak_mib": peaks[0],
        "unchunked_mib": peaks[1],
        "same_labels": float(same),
        "distinct_labels": len(labels[model].unique()),
    }


def disturbed_model(config: str, options: list[str]) -> CATSeg:
    """Build a model with random weights whose adaptation is not the identity.

    Raises:
        UserError: if it is not H-CLIP with relations of the released form.
    """
    torch.manual_seed(0)
    choices = ["MODEL.CLIP.PRETRAINED", "random", "MODEL.DEVICE", "cpu"]
    choices += ["MODEL.CATSEG.LAST_BLOCK", "cls", *options]  # the plain forward's, as released
    model = build_as(load_cfg(find_config(config), choices), CATSeg)
    adaptation = model.adaptation
    released = isinstance(adaptation, POPAdaptation) and isinstance(
        adaptation.pop.relation, CodeRelation
    )
    if not released:
        raise UserError(f"{config}: a plain forward is written for H-CLIP's released form alone")
    with torch.no_grad():
        for parameter in adaptation.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return model


@torch.no_grad()
def time_stages(
    model: CATSeg, images: Tensor, rounds: int, clock: Callable[[], float]
) -> dict[str, object]:
    """Time all stages in turns.

    Args:
        model: in eval mode, words set.
        images: (1, 3, S, S) normalised, S the model's size.
        rounds: counted rounds behind one that warms up.
        clock: gives seconds.

    Returns:
        ``seconds`` stage -> median; ``decoder_gflop``; ``gflop_per_second``, the better of the two
        rates; ``decoder_floor`` in seconds; ``ratio_to_plain`` and ``ratio_to_floor`` (whole over
        bare forward plus decoder floor), medians of the rounds' ratios; ``difference``, the largest
        between the two forwards' logits relative to their largest value.
    """
    features = model.encode(images)
    ours, plain = model.score(features), reference_logits(model, images)
    calls = {
        "bare": lambda: model.bare_forward(images),
        "encode": lambda: model.encode(images),
        "decode": lambda: model.score(features),
        "whole": lambda: model.score(model.encode(images)),
        "plain": lambda: reference_logits(model, images),
    }
    flops = decoder_flops(model, features)
    table = []
    for _ in range(rounds + 1):
        seconds = {name: _timed(call, clock) for name, call in calls.items()}
        seconds["floor"] = flops / best_rate(clock)
        table.append(seconds)
    table = table[1:]
    return {
        "seconds": {name: median(row[name] for row in table) for name in STAGES},
        "decoder_gflop": flops / 1e9,
        "gflop_per_second": median(flops / row["floor"] for row in table) / 1e9,
        "decoder_floor": median(row["floor"] for row in table),
        "ratio_to_plain": median(row["whole"] / row["plain"] for row in table),
        "ratio_to_floor": median(row["whole"] / (row["bare"] + row["floor"]) for row in table),
        "difference": float((ours - plain).abs().max() / plain.abs().max()),
        "rounds": rounds,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def decoder_flops(model: CATSeg, features: ImageFeatures) -> int:
    """Count the decoder's floating point operations, two per multiply-add."""
    with OperationCounter() as counter:
        model.score(features)
    return counter.flops


def best_rate(clock: Callable[[], float]) -> float:
    """Operations per second of a large matrix product or convolution, whichever is faster."""
    square = torch.randn(1024, 1024)
    maps = torch.randn(16, 64, 48, 48).to(memory_format=torch.channels_last)
    kernel = torch.randn(64, 64, 3, 3).to(memory_format=torch.channels_last)
    products = {
        2 * 1024**3: lambda: square @ square,
        2 * 16 * 48 * 48 * 64 * 64 * 9: lambda: F.conv2d(maps, kernel, padding=1),
    }
    return max(
        flops / min(_timed(call, clock) for _ in range(4)) for flops, call in products.items()
    )


def _timed(call: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    call()
    return clock() - start


def _print(result: dict[str, Any]) -> None:
    seconds, rate = result["seconds"], result["gflop_per_second"]
    rows = [(name, f"{seconds[name]:.3f}") for name in STAGES]
    rows.append(("decoder floor", f"{result['decoder_floor']:.3f}"))
    print(tabulate(rows, headers=("stage", f"{result['clock']} s, median of {result['rounds']}")))
    print(f"decoder: {result['decoder_gflop']:.1f} GFLOP at {rate:.0f} GFLOP/s; takes "
          f"{seconds['decode'] / result['decoder_floor']:.2f} x its floor")  # fmt: skip
    print(f"whole / plain:                        {result['ratio_to_plain']:.3f}")
    print(f"whole / (bare CLIP + decoder floor):  {result['ratio_to_floor']:.3f}")
    print(f"largest relative difference of the logits: {result['difference']:.1e}")


if __name__ == "__main__":
    sys.exit(guarded(main))
