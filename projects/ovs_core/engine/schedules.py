"""Learning-rate schedules: Detectron2's own, and the polynomial one of mmsegmentation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from detectron2.config import CfgNode
from detectron2.solver import build_lr_scheduler
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from ..errors import UserError, check_choice

DETECTRON2 = ("WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR")
POLY = "WarmupPolyLR"


def build_schedule(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """Build the schedule of ``SOLVER.LR_SCHEDULER_NAME``.

    Args:
        cfg: config with ``SOLVER``.
        optimizer: its groups' rates are the peaks.

    Returns:
        The schedule; ``step()`` is called once per iteration.

    Raises:
        UserError: for an unknown name, or a warm-up that is not linear.
    """
    solver = cfg.SOLVER
    check_schedule(cfg)
    if solver.LR_SCHEDULER_NAME in DETECTRON2:
        schedule: LRScheduler = build_lr_scheduler(cfg, optimizer)
        return schedule
    return LambdaLR(optimizer, [_poly(solver, group["lr"]) for group in optimizer.param_groups])


def check_schedule(cfg: CfgNode) -> None:
    """Refuse an unknown ``SOLVER.LR_SCHEDULER_NAME``, or a warm-up that it does not know.

    Raises:
        UserError: names the key.
    """
    name, method = cfg.SOLVER.LR_SCHEDULER_NAME, cfg.SOLVER.WARMUP_METHOD
    check_choice("SOLVER.LR_SCHEDULER_NAME", name, (*DETECTRON2, POLY))
    if name == POLY and method != "linear":
        raise UserError(
            f"SOLVER.WARMUP_METHOD: {POLY} warms up linearly, but the config says '{method}'; set "
            "it to linear (WARMUP_ITERS 0 for no warm-up)"
        )


def set_iteration(schedule: LRScheduler, iteration: int) -> None:
    """Give the optimiser the rates that a schedule has at an iteration.

    Every schedule of the suite is a function of the iteration, so nothing of the steps before it
    counts, such as the rates that a checkpoint was written with.

    Args:
        schedule: of ``build_schedule``.
        iteration: the one that comes next, from 1.
    """
    # The step count only tells PyTorch that the optimiser has made steps before.
    before = {"last_epoch": iteration - 1, "_step_count": iteration + 1}
    schedule.load_state_dict({**schedule.state_dict(), **before})
    schedule.step()


def poly_rate(
    iteration: int,
    *,
    peak: float,
    iterations: int,
    power: float,
    floor: float,
    warmup: int,
    warmup_factor: float,
    after_warmup: bool = False,
) -> float:
    """Rate at an iteration: ``(peak - floor) (1 - i / I)^power + floor``, scaled in the warm-up.

    The floor is absolute, so groups with different peaks end at the same rate. With
    ``after_warmup`` the warm-up W reaches the peak at its last iteration, and only the rest decays,
    as mmsegmentation 1.x has it: ``i - W`` over ``I - 1 - W`` stands for ``i / I``.

    Args:
        iteration: i, from 0.
        peak: rate without decay.
        iterations: length I of the run.
        power: exponent.
        floor: rate at the end.
        warmup: iterations of linear warm-up; it multiplies the decayed rate.
        warmup_factor: multiplier at iteration 0.
        after_warmup: whether the decay waits for the end of the warm-up.
    """
    if after_warmup:
        if iteration < warmup:
            return peak * (warmup_factor + (1 - warmup_factor) * iteration / max(warmup - 1, 1))
        iteration, iterations, warmup = iteration - warmup, iterations - 1 - warmup, 0
    left = max(0.0, 1 - iteration / max(iterations, 1))
    rate: float = (peak - floor) * left**power + floor
    if iteration < warmup:
        rate *= 1 - (1 - iteration / warmup) * (1 - warmup_factor)
    return rate


def _poly(solver: CfgNode, peak: float) -> Callable[[int], float]:
    def factor(iteration: int) -> float:
        rate = poly_rate(
            iteration,
            peak=peak,
            iterations=solver.MAX_ITER,
            power=solver.POLY_POWER,
            floor=solver.POLY_MIN_LR,
            warmup=solver.WARMUP_ITERS,
            warmup_factor=solver.WARMUP_FACTOR,
            after_warmup=solver.POLY_AFTER_WARMUP,
        )
        return rate / peak if peak else 0.0

    return factor
