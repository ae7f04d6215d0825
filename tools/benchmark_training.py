#!/usr/bin/env python
"""Time a training step against the bare CLIP image forward, in one run.

Examples:
  python tools/benchmark_training.py sptseg/sptseg_coco_fully --words 171 --threads 1
  python tools/benchmark_training.py sptseg/zegclip_voc_fully --words 20 --size 512x512
Random weights of the real shapes are used. A step is forward, losses, backward and optimiser step
on one picture with labels in squares. Floor and step take turns; medians are reported.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import nn

from ovs_core.benchmark import peak_memory
from ovs_core.configs import find_config
from ovs_core.engine.config import load_cfg
from ovs_core.engine.optimizer import build_optimizer
from ovs_core.engine.trainer import Trainer
from ovs_core.errors import UserError
from ovs_core.vocabulary import Vocabulary


def main() -> None:
    """Build the method, time it, print and maybe write JSON."""
    args = _parse()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    options = [
        "MODEL.CLIP.PRETRAINED", "random", "MODEL.WEIGHTS", "",
        "MODEL.OVS.TEMPLATES", "['a photo of a {}']",
    ]  # fmt: skip
    cfg = load_cfg(find_config(args.method), [*options, *args.options])
    model = Trainer.build_model(cfg).train()
    model.set_vocabulary(Vocabulary.from_names([f"thing number {i}" for i in range(args.words)]))
    model.text_features()  # computed once per training run
    result = measure(
        model, build_optimizer(cfg, model), sample(args.size, args.words), args.repeats
    )
    result |= {"config": args.method, "words": args.words, "size": list(args.size)}
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


def sample(size: tuple[int, int], words: int) -> list[dict]:
    """One picture with labels of at most eight classes in squares of 64 pixels."""
    height, width = size
    few = torch.randperm(words)[:8]
    squares = few[torch.randint(0, len(few), (height // 64 + 1, width // 64 + 1))]
    labels = squares.repeat_interleave(64, 0).repeat_interleave(64, 1)[:height, :width]
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    return [{"image": image, "sem_seg": labels.contiguous()}]


def measure(
    model: nn.Module, optimizer: torch.optim.Optimizer, batch: list[dict], repeats: int
) -> dict[str, float]:
    """Time floor and step in turns.

    Args:
        model: in training mode, words set.
        optimizer: over its trained parameters.
        batch: what the model trains on.
        repeats: counted rounds, behind one that warms up.

    Returns:
        Median seconds of wall and processor time, their ratios, and the peak in MiB: above what was
        in use before the step, and of the whole process.
    """
    images = torch.stack([model.normalize(one["image"]) for one in batch])

    def bare() -> None:
        with torch.no_grad():
            model.bare_forward(images)

    def step() -> None:
        optimizer.zero_grad()
        sum(model(batch).values()).backward()
        optimizer.step()

    rounds = [(_timed(bare), _timed(step)) for _ in range(repeats + 1)][1:]
    floor, whole = ([median(r[i][kind] for r in rounds) for kind in range(2)] for i in range(2))
    peak = peak_memory(step)
    return {
        "bare_wall": floor[0],
        "bare_cpu": floor[1],
        "step_wall": whole[0],
        "step_cpu": whole[1],
        "ratio_wall": whole[0] / floor[0],
        "ratio_cpu": whole[1] / floor[1],
        "peak_mib": peak / 2**20,
        "peak_process_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": torch.get_num_threads(),
    }


def _timed(call: Callable[[], None]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("method", help="project, project/config, or a YAML file")
    parser.add_argument("--size", type=_size, default=(512, 512), help="HxW (512x512)")
    parser.add_argument("--words", type=int, default=171, help="trained classes (171)")
    parser.add_argument("--repeats", type=int, default=3, help="counted rounds (3)")
    parser.add_argument("--threads", type=int, help="CPU threads (torch's default)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("options", nargs="*", help="KEY VALUE config overrides")
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
