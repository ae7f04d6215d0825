"""Seconds that a call takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch

Found = TypeVar("Found")


class Seconds(NamedTuple):
    """What a call took.

    Attributes:
        wall: seconds of the wall clock.
        cpu: seconds of the processor, which other programs disturb little.
    """

    wall: float
    cpu: float


def timed(device: torch.device, call: Callable[[], Found]) -> tuple[Seconds, Found]:
    """Call, and wait for what the device has left to do, before and after.

    Args:
        device: on which it computes.
        call: what is timed.
    """
    _wait(device)
    wall, cpu = time.perf_counter(), time.process_time()
    found = call()
    _wait(device)
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu), found


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
