"""One training step: accumulation, mixed precision, gradient scaling."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import check_choice
from ..modeling.contract import OpenVocabularyModel, bare
from .optimizer import restore_memory
from .train_loader import Sample, seed_everything

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class TrainStep(SimpleTrainer):
    """Detectron2's ``SimpleTrainer`` with autocast on any device and gradient accumulation.

    Every step seeds the generators from (seed, iteration, rank), so that dropout after a resume is
    the dropout of an uninterrupted run.

    Args:
        cfg: config.
        model: model, maybe wrapped for distribution.
        data_loader: endless batches.
        optimizer: optimiser.
    """

    def __init__(
        self,
        cfg: CfgNode,
        model: nn.Module,
        data_loader: Iterable[list[Sample]],
        optimizer: torch.optim.Optimizer,
    ) -> None:
        super().__init__(model, data_loader, optimizer)
        self.accumulate = cfg.SOLVER.ACCUMULATE
        self.seed = cfg.SEED
        self.device_type = torch.device(cfg.MODEL.DEVICE).type
        amp = cfg.SOLVER.AMP
        if amp.ENABLED:
            check_choice("SOLVER.AMP.DTYPE", amp.DTYPE, DTYPES)
        self.dtype = DTYPES[amp.DTYPE] if amp.ENABLED else None
        self.scaler = torch.amp.GradScaler(self.device_type, enabled=self.dtype is torch.float16)

    def run_step(self) -> None:
        """Run ``ACCUMULATE`` batches forward and backward, then one optimiser step."""
        self.optimizer.zero_grad()
        totals: dict[str, torch.Tensor] = {}
        data_time = 0.0
        for part in range(self.accumulate):
            start = time.perf_counter()
            data = next(self._data_loader_iter)
            data_time += time.perf_counter() - start
            # Behind the loader, whose start draws a number from torch's generator.
            seed_everything(self.seed, self.iter, comm.get_rank(), part)
            with self._without_sync(part):
                losses = self._forward(data)
                self.scaler.scale(sum(losses.values()) / self.accumulate).backward()
            for name, loss in losses.items():
                totals[name] = totals.get(name, 0) + loss.detach() / self.accumulate
        self._write_metrics(totals, data_time)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Add the gradient scaler and what the model remembers."""
        return {
            **super().state_dict(),
            "scaler": self.scaler.state_dict(),
            "model_run": self._bare.run_state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the optimiser's, the gradient scaler's and the model's memory."""
        self.iter = state_dict["iteration"]
        restore_memory(self.optimizer, state_dict["optimizer"])
        if state_dict["scaler"]:  # empty where none was used
            self.scaler.load_state_dict(state_dict["scaler"])
        self._bare.load_run_state(state_dict["model_run"])

    @property
    def _bare(self) -> OpenVocabularyModel:
        return bare(self.model)

    def _forward(self, data: list[Sample]) -> dict[str, torch.Tensor]:
        with torch.autocast(self.device_type, self.dtype, enabled=self.dtype is not None):
            losses = self.model(data)
        return {"total_loss": losses} if isinstance(losses, torch.Tensor) else losses

    def _without_sync(self, part: int) -> AbstractContextManager[None]:
        """Leave the exchange of gradients between processes to the last part of a step."""
        last = part == self.accumulate - 1
        if last or not isinstance(self.model, DistributedDataParallel):
            return nullcontext()
        return self.model.no_sync()
