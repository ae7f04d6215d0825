"""One training step: its parts, mixed precision, gradient scaling."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm

from ..errors import check_choice
from ..modeling.contract import OpenVocabularyModel
from ..modeling.global_batch import GlobalBatch
from ..modeling.per_picture import drawing_for
from .averaging import WeightAverage
from .gradients import sum_gradients
from .optimizer import restore_memory
from .parts import global_batches
from .train_loader import Sample, seed_everything

_NAMED = 8  # pictures that a message names
SCALED_LOSS = 2.0**14  # what the losses of a first step in float16 are scaled to, at most
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class TrainStep(SimpleTrainer):
    """Detectron2's ``SimpleTrainer`` with autocast on any device, over any split of the batch.

    A step is shared out over processes and ``ACCUMULATE`` batches of each; losses and gradients are
    those of all its pictures in one batch. Random numbers are each picture's own. What is random
    otherwise is seeded from (seed, iteration, rank, batch), so that a resumed run is that of an
    uninterrupted one.

    Args:
        cfg: config.
        model: model.
        data_loader: endless batches.
        optimizer: optimiser.
    """

    model: OpenVocabularyModel

    def __init__(
        self,
        cfg: CfgNode,
        model: OpenVocabularyModel,
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
        decay = cfg.SOLVER.EMA_DECAY
        self.average = WeightAverage(model, decay) if decay else None
        self.scaler = torch.amp.GradScaler(self.device_type, enabled=self.dtype is torch.float16)
        self._scaled = False

    def run_step(self) -> None:
        """Run all parts of a step forward and backward, then the optimiser."""
        self.optimizer.zero_grad()
        start = time.perf_counter()
        parts = [next(self._data_loader_iter) for _ in range(self.accumulate)]
        data_time = time.perf_counter() - start
        totals: dict[str, torch.Tensor] = {}
        spoilt: list[str] = []
        batches = global_batches(self.model, parts, self._around)
        for number, (part, batch) in enumerate(zip(parts, batches, strict=True)):
            # Behind the loader, whose start draws a number from torch's generator.
            seed_everything(self.seed, self.iter, comm.get_rank(), number)
            losses = self._backward(part, batch)
            spoilt += [] if _finite(losses) else [str(one.get("file_name")) for one in part]
            for name, loss in losses.items():
                totals[name] = totals.get(name, 0) + loss
        self._refuse(spoilt)
        sum_gradients([p for p in self.model.parameters() if p.requires_grad])
        # The writer takes the mean over processes of what is summed up here.
        world = comm.get_world_size()
        self._write_metrics({name: world * loss for name, loss in totals.items()}, data_time)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update(self.iter)

    def averaged(self) -> AbstractContextManager[None]:
        """Let the model have the mean of its trained weights, if it is kept, inside the block."""
        return nullcontext() if self.average is None else self.average.in_place()

    def state_dict(self) -> dict[str, Any]:
        """Add the gradient scaler, what the model remembers, and the weights that are averaged."""
        return {
            "trained": {} if self.average is None else self.average.trained(),
            **super().state_dict(),
            "scaler": self.scaler.state_dict(),
            "model_run": self.model.run_state(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the optimiser's, the gradient scaler's and the model's memory.

        A checkpoint that was written with a mean of the weights has it for the model's weights.
        """
        if self.average is not None:
            self.average.begin()
        WeightAverage(self.model, 0).put(state_dict.get("trained", {}))
        self.iter = state_dict["iteration"]
        restore_memory(self.optimizer, state_dict["optimizer"])
        if state_dict["scaler"]:  # empty where none was used
            self.scaler.load_state_dict(state_dict["scaler"])
            self._scaled = True
        self.model.load_run_state(state_dict["model_run"])

    def _backward(self, part: list[Sample], batch: GlobalBatch | None) -> dict[str, torch.Tensor]:
        """Add a part's gradients; give its shares of the step's losses, on the CPU."""
        with self.model.part_of(batch), self._around(part):
            losses = self.model(part)
        share = 1.0 if batch is None else batch.pictures / len(batch.facts)
        shares = {name: share * loss for name, loss in losses.items()}
        total: Any = sum(shares.values())
        if self.scaler.is_enabled() and not self._scaled:
            self._begin_scaling(float(total.detach()) / share)
        self.scaler.scale(total).backward()
        return _fetched(shares)

    def _begin_scaling(self, loss: float) -> None:
        """Begin with a scale that suits the losses, which may be hundreds.

        From PyTorch's own, 2^16 for any, steps would be skipped until it had come down.
        """
        largest = max([1.0, *(one for one in comm.all_gather(loss) if math.isfinite(one))])
        scale = 2.0 ** math.floor(math.log2(SCALED_LOSS / largest))
        self.scaler = torch.amp.GradScaler(self.device_type, init_scale=scale)
        self._scaled = True

    def _refuse(self, spoilt: list[str]) -> None:
        """End in all processes, before the weights are changed, if a loss is not finite."""
        if files := [file for process in comm.all_gather(spoilt) for file in process]:
            more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
            raise FloatingPointError(
                f"the loss is not finite at iteration {self.iter}, with the pictures "
                f"{', '.join(files[:_NAMED])}{more}"
            )

    @contextmanager
    def _around(self, part: list[Sample]) -> Iterator[None]:
        """What a part is computed in: the precision, and its pictures' random numbers."""
        with (
            torch.autocast(self.device_type, self.dtype, enabled=self.dtype is not None),
            drawing_for([(self.seed, one["draw"]) for one in part]),
        ):
            yield


def _fetched(losses: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Losses on the CPU, by one copy: for each of several a GPU would be waited for."""
    values = torch.stack([loss.detach().float() for loss in losses.values()]).cpu()
    return dict(zip(losses, values.unbind(), strict=True))


def _finite(losses: dict[str, torch.Tensor]) -> bool:
    return all(bool(loss.isfinite()) for loss in losses.values())
