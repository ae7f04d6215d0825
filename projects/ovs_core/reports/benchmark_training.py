"""Timing a training step against the bare image forward of the network it stands on, in one run.

A step is forward, losses, backward and optimiser step. Floor and step take turns; medians are
reported, of parts their share of the step's processor time. Beside them stands what the step's
operations alone would take at the rate of one large matrix product.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from operator import attrgetter
from statistics import median
from typing import Any

import torch

from ..errors import UserError
from ..modeling.segmenter import Segmenter
from ..tensor.operations import OperationCounter
from .benchmark import peak_memory
from .clocks import timed


def benchmark_training(
    model: Segmenter,
    optimizer: torch.optim.Optimizer,
    batch: list[dict[str, Any]],
    repeats: int,
    *,
    parts: Sequence[str] = (),
) -> dict[str, Any]:
    """Time floor and step in turns.

    Args:
        model: in training mode, words set.
        optimizer: over its trained parameters.
        batch: what the model trains on.
        repeats: counted rounds, behind one step that warms up and is counted out.
        parts: methods of the model, such as ``objective.find_objects``.

    Returns:
        Median seconds of wall and processor time, their ratios, and the peak in MiB: above what was
        in use before the step, and of the whole process; ``parts`` name -> share of the step's
        processor time; ``gflop`` of a step, ``gflop_per_second`` of a large product (see
        ``product_rate``), and ``ratio_operations``, the step's time over what its operations would
        take at that rate.
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

    with OperationCounter() as counter:  # warms up, too
        step()
    bare()
    device = images.device
    rounds = [(timed(device, bare)[0], timed(device, step)[0]) for _ in range(repeats)]
    flops, rate = counter.flops, product_rate(device)
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
        "gflop": flops / 1e9,
        "gflop_per_second": rate / 1e9,
        "ratio_operations": whole[_clock(device)] * rate / flops,
        "parts": {part: seconds / whole[1] for part, seconds in shares.items()},
        "peak_mib": peak / 2**20,
        "peak_process_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": torch.get_num_threads(),
    }


def product_rate(device: torch.device, side: int = 2048, tries: int = 3) -> float:
    """Floating-point operations per second of a large product of float32 matrices, at best.

    Seconds are those of the processor; of a GPU, of the wall clock.
    """
    a = torch.randn(side, side, device=device)

    def multiply() -> None:
        a @ a

    return 2 * side**3 / min(timed(device, multiply)[0][_clock(device)] for _ in range(tries))


def watch(model: Segmenter, path: str) -> list[float]:
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


def _clock(device: torch.device) -> int:
    """Which of ``Seconds`` tell what work costs: other programs disturb them least."""
    return 1 if device.type == "cpu" else 0
