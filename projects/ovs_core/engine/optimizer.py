"""Optimisers with groups: norms, embeddings, and multipliers by parameter name."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.solver.build import maybe_add_gradient_clipping
from torch import nn

from ..errors import UserError, check_choice
from ..modeling.contract import OpenVocabularyModel
from ..tensor.sharded import is_sharded, own_part, shared_as, whole

logger = logging.getLogger(__name__)

NORMS = (
    nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm,
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.LocalResponseNorm, nn.RMSNorm,
)  # fmt: skip
ADAMS = {"AdamW": torch.optim.AdamW, "Adam": torch.optim.Adam}

SGD_MEMORY, ADAM_MEMORY = {"momentum_buffer"}, {"step", "exp_avg", "exp_avg_sq"}

Group = dict[str, Any]  # ``params``, ``names``, ``lr``, ``weight_decay``


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimiser of ``SOLVER`` over the parameters that require a gradient.

    Rates are ``BASE_LR`` times the first matching entry of ``PARAM_MULTIPLIERS``, times the factor
    that the model's ``rates`` state; decay is ``WEIGHT_DECAY``, or ``WEIGHT_DECAY_NORM`` /
    ``WEIGHT_DECAY_EMBED`` for norms and embeddings where those are set. Gradient clipping follows
    ``SOLVER.CLIP_GRADIENTS``.

    Raises:
        UserError: if nothing is trained, or the optimiser is unknown.
    """
    groups = parameter_groups(cfg, model)
    if not groups:
        raise UserError(
            f"{cfg.MODEL.META_ARCHITECTURE} has no parameter to train with this config; "
            "use --eval-only, or switch a trained part on"
        )
    solver = cfg.SOLVER
    check_optimizer(cfg)
    if solver.OPTIMIZER == "SGD":
        return clip_gradients(
            cfg,
            torch.optim.SGD(
                groups, lr=solver.BASE_LR, momentum=solver.MOMENTUM, nesterov=solver.NESTEROV
            ),
        )
    adam = ADAMS[solver.OPTIMIZER]
    return clip_gradients(cfg, adam(groups, lr=solver.BASE_LR, betas=tuple(solver.BETAS)))


def check_optimizer(cfg: CfgNode) -> None:
    """Refuse an unknown ``SOLVER.OPTIMIZER``, or multipliers that are malformed.

    Raises:
        UserError: names the key.
    """
    check_choice("SOLVER.OPTIMIZER", cfg.SOLVER.OPTIMIZER, (*ADAMS, "SGD"))
    _multipliers(cfg.SOLVER.PARAM_MULTIPLIERS)


def parameter_groups(cfg: CfgNode, model: nn.Module) -> list[Group]:
    """Sort trained parameters into groups of equal rate and decay.

    Args:
        cfg: config with ``SOLVER``.
        model: the model; a shared parameter is taken once.

    Returns:
        Groups with ``params``, ``lr``, ``weight_decay`` and ``names``.

    Raises:
        UserError: if an entry of ``PARAM_MULTIPLIERS`` is malformed.
    """
    multipliers = _multipliers(cfg.SOLVER.PARAM_MULTIPLIERS)
    own = model.rates if isinstance(model, OpenVocabularyModel) else {}
    groups: dict[tuple[float, float, bool], Group] = {}
    for name, parameter, owner in _trained(model):
        rate, decay = _settings(cfg, owner, name, multipliers)
        rate *= next((factor for part, factor in own.items() if name.startswith(part)), 1.0)
        group = groups.setdefault(
            (rate, decay, is_sharded(parameter)),  # no operation takes both at once
            {"params": [], "names": [], "lr": rate, "weight_decay": decay},
        )
        group["params"].append(parameter)
        group["names"].append(name)
    for group in groups.values():
        count = sum(p.numel() for p in group["params"])
        logger.info(
            "optimiser group: rate %g, decay %g, %d tensors, %s parameters",
            group["lr"], group["weight_decay"], len(group["params"]), f"{count:,}",
        )  # fmt: skip
    return list(groups.values())


def restore_memory(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Give an optimiser what it remembers of each parameter, such as Adam's moments.

    Parameters are found by their names, so that they may stand in other groups than before. Rates,
    decays and the like stay those that the optimiser was built with.

    Args:
        optimizer: of ``build_optimizer``.
        saved: state of one that was built by it, maybe of another kind or with other groups.
    """
    places = {
        name: place
        for group in saved["param_groups"]
        for name, place in zip(group["names"], group["params"], strict=True)
    }
    known = SGD_MEMORY if isinstance(optimizer, torch.optim.SGD) else ADAM_MEMORY
    if any(not entry.keys() <= known for entry in saved["state"].values()):
        kind = type(optimizer).__name__
        logger.warning("the optimiser's memory does not fit %s, which begins without one", kind)
        return
    state = optimizer.state_dict()
    for group, own in zip(state["param_groups"], optimizer.param_groups, strict=True):
        named = zip(group["names"], group["params"], own["params"], strict=True)
        for name, place, parameter in named:
            memory = saved["state"].get(places.get(name), {})
            if memory:
                state["state"][place] = {k: shared_as(v, parameter) for k, v in memory.items()}
    optimizer.load_state_dict(state)


def clip_gradients(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Add clipping to ``step``: Detectron2's per-parameter kinds, or ``full_model``."""
    settings = cfg.SOLVER.CLIP_GRADIENTS
    if not (settings.ENABLED and settings.CLIP_TYPE == "full_model"):
        clipped: torch.optim.Optimizer = maybe_add_gradient_clipping(cfg, optimizer)
        return clipped
    limit, order = settings.CLIP_VALUE, settings.NORM_TYPE

    def clip(optimizer: torch.optim.Optimizer, args: object, kwargs: object) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if any(map(is_sharded, parameters)):
            _clip_shares(parameters, limit, order)
        else:
            torch.nn.utils.clip_grad_norm_(parameters, limit, norm_type=order)

    optimizer.register_step_pre_hook(clip)
    return optimizer


def _clip_shares(parameters: Sequence[nn.Parameter], limit: float, order: float) -> None:
    """Clip by the norm over all gradients, of which this process has a share of some."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    kinds = [[g for g in gradients if is_sharded(g) is sharded] for sharded in (True, False)]
    norms = [whole(torch.nn.utils.get_total_norm(kind, order)) for kind in kinds if kind]
    total = torch.linalg.vector_norm(torch.stack(norms), order)
    factor = (limit / (total + 1e-6)).clamp(max=1.0)  # as clip_grad_norm_ has it
    for gradient in gradients:
        own_part(gradient).mul_(factor)


def _trained(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, nn.Module]]:
    seen: set[nn.Parameter] = set()
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                yield f"{prefix}.{name}" if prefix else name, parameter, module


def _settings(
    cfg: CfgNode, owner: nn.Module, name: str, multipliers: Sequence[tuple[str, float, float]]
) -> tuple[float, float]:
    solver = cfg.SOLVER
    decay = solver.WEIGHT_DECAY
    if isinstance(owner, NORMS) and solver.WEIGHT_DECAY_NORM is not None:
        decay = solver.WEIGHT_DECAY_NORM
    if isinstance(owner, nn.Embedding) and solver.WEIGHT_DECAY_EMBED is not None:
        decay = solver.WEIGHT_DECAY_EMBED
    rate_factor, decay_factor = next(
        ((r, d) for part, r, d in multipliers if part in name), (1.0, 1.0)
    )
    return solver.BASE_LR * rate_factor, decay * decay_factor


def _multipliers(stated: Sequence[Sequence[Any]]) -> list[tuple[str, float, float]]:
    entries = []
    for entry in stated:
        if len(entry) not in (2, 3) or not isinstance(entry[0], str):
            raise UserError(
                "SOLVER.PARAM_MULTIPLIERS: expected [[name part, rate factor, decay factor], ...], "
                f"but an entry is {list(entry)}"
            )
        entries.append((entry[0], float(entry[1]), float(entry[2]) if len(entry) == 3 else 1.0))
    repeated = [part for part, n in Counter(e[0] for e in entries).items() if n > 1]
    if repeated:
        raise UserError(f"SOLVER.PARAM_MULTIPLIERS: '{repeated[0]}' stands there twice")
    return entries
