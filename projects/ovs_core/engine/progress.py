"""What is logged of a step beside its losses: rates, speed, memory."""

from __future__ import annotations

import resource
import sys

import torch
from detectron2.engine.train_loop import HookBase

_PER_MIB = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is in bytes, or in KiB


class ProgressHook(HookBase):
    """Logs the rate of each group, pictures per second, and the most memory that was in use.

    They stand in ``metrics.json`` and TensorBoard as ``lr_of_group/<number>`` (the groups are in
    the log, in this order; of one group ``lr`` says it), ``pictures_per_s`` and ``memory_mib`` of
    the main process: what PyTorch holds of a GPU, or all of the process without one.

    Args:
        pictures: of a step, over all processes.
    """

    def __init__(self, pictures: int) -> None:
        self.pictures = pictures

    def after_step(self) -> None:
        """Log; to be called in front of the schedule, and behind the timer."""
        storage = self.trainer.storage
        groups = self.trainer.optimizer.param_groups
        rates = {f"lr_of_group/{i}": group["lr"] for i, group in enumerate(groups)}
        if len(rates) > 1:
            storage.put_scalars(smoothing_hint=False, **rates)
        if "time" in storage.histories():
            seconds = storage.history("time").latest()
            storage.put_scalar("pictures_per_s", self.pictures / seconds)
        storage.put_scalar("memory_mib", _most_memory(), smoothing_hint=False)


def _most_memory() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _PER_MIB
