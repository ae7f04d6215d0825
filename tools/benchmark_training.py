#!/usr/bin/env python
"""Time a training step against the bare CLIP image forward, in one run.

Examples:
  python tools/benchmark_training.py sptseg/sptseg_coco_fully --words 171 --threads 1
  python tools/benchmark_training.py sptseg/zegclip_voc_fully --words 20 --size 512x512
  python tools/benchmark_training.py clipteacher/segformer_b0_voc --batch 16 --unlabelled 0.5
Add --parts teacher.forward,objective.find_objects for the shares of these methods of the model.
Random weights of the real shapes are used. A step is forward, losses, backward and optimiser step
on pictures with labels in squares. Floor and step take turns; medians are reported, of parts their
share of the step's processor time.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from ovs_core.engine.config import load_cfg
from ovs_core.engine.optimizer import build_optimizer
from ovs_core.engine.trainer import Trainer
from ovs_core.errors import UserError
from ovs_core.files.writing import write_json
from ovs_core.methods.configs import find_config
from ovs_core.reports.benchmark import peak_memory
from ovs_core.words.label_space import IGNORE
from ovs_core.words.vocabulary import Vocabulary


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
    batch = [sample(args.size, args.words, args.unlabelled) for _ in range(args.batch)]
    optimizer = build_optimizer(cfg, model)
    result = measure(model, optimizer, batch, args.repeats, parts=args.parts)
    result |= {
        "config": args.method, "words": args.words, "size": list(args.size),
        "batch": args.batch, "unlabelled": args.unlabelled,
    }  # fmt: skip
    print(json.dumps(result, indent=2))
    if args.json:
        write_json(args.json, result)


def sample(size: tuple[int, int], words: int, unlabelled: float = 0.0) -> dict:
    """One picture with labels of at most eight classes in squares of 64 pixels.

    Args:
        size: (H, W).
        words: number of classes.
        unlabelled: share of the squares that have no label.
    """
    height, width = size
    few = torch.randperm(words)[:8]
    squares = few[torch.randint(0, len(few), (height // 64 + 1, width // 64 + 1))]
    squares[torch.rand(squares.shape) < unlabelled] = IGNORE
    labels = squares.repeat_interleave(64, 0).repeat_interleave(64, 1)[:height, :width]
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    return {"image": image, "sem_seg": labels.contiguous()}


def measure(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: list[dict],
    repeats: int,
    *,
    parts: Sequence[str] = (),
) -> dict[str, Any]:
    """Time floor and step in turns.

    Args:
        model: in training mode, words set.
        optimizer: over its trained parameters.
        batch: what the model trains on.
        repeats: counted rounds, behind one that warms up.
        parts: methods of the model, such as ``objective.find_objects``.

    Returns:
        Median seconds of wall and processor time, their ratios, and the peak in MiB: above what was
        in use before the step, and of the whole process; ``parts`` name -> share of the step's
        processor time.
    """
    spent = {part: watch(model, part) for part in parts}
    images = torch.stack([model.normalize(one["image"]) for one in batch])

    def bare() -> None:
        with torch.no_grad():
            model.bare_forward(images)

    def step() -> None:
        optimizer.zero_grad()
        sum(model(batch).values()).backward()
        optimizer.step()

    rounds = [(_timed(bare), _timed(step)) for _ in range(repeats + 1)][1:]
    shares = {part: median(times[1:]) for part, times in spent.items()}
    floor, whole = ([median(r[i][kind] for r in rounds) for kind in range(2)] for i in range(2))
    peak = peak_memory(step)
    return {
        "bare_wall": floor[0],
        "bare_cpu": floor[1],
        "step_wall": whole[0],
        "step_cpu": whole[1],
        "ratio_wall": whole[0] / floor[0],
        "ratio_cpu": whole[1] / floor[1],
        "parts": {part: seconds / whole[1] for part, seconds in shares.items()},
        "peak_mib": peak / 2**20,
        "peak_process_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": torch.get_num_threads(),
    }


def watch(model: nn.Module, path: str) -> list[float]:
    """Note the processor seconds of every call of a method.

    Args:
        model: the model, changed in place.
        path: attributes from the model to the method, which is called once per step.

    Returns:
        A list that grows with every call.

    Raises:
        UserError: if there is no such method.
    """
    owner_path, _, name = path.rpartition(".")
    try:
        owner = attrgetter(owner_path)(model) if owner_path else model
        method = getattr(owner, name)
    except AttributeError as error:
        raise UserError(f"--parts: the model has no '{path}' ({error})") from error
    seconds: list[float] = []

    def timed(*args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        result = method(*args, **kwargs)
        seconds.append(time.process_time() - start)
        return result

    setattr(owner, name, timed)
    return seconds


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
    parser.add_argument("--batch", type=int, default=1, help="pictures of a step (1)")
    parser.add_argument("--unlabelled", type=float, default=0.0, help="share of pixels (0)")
    parser.add_argument(
        "--parts", type=lambda text: text.split(","), default=[], help="methods, by commas"
    )
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
