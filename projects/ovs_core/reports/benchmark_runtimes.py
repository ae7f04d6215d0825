"""Timing a method's engines and shortcuts against eager float32 without one, in turns.

Their labels are compared, too.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import Tensor

from ..modeling.runtime import eager, install_runtime, measure_agreement
from ..modeling.runtime_rule import RuntimeRule
from ..modeling.scores import Size
from ..modeling.segmenter import Segmenter
from .clocks import Seconds, timed


@torch.no_grad()
def benchmark_runtime(
    model: Segmenter,
    cfg: CfgNode,
    rule: RuntimeRule,
    pictures: Sequence[tuple[Tensor, Size]],
    *,
    repeats: int = 5,
) -> dict[str, Any]:
    """Time one engine end to end; the first round of each way is not counted.

    Args:
        model: with words; keeps the engine.
        cfg: that it was built from.
        rule: the engine.
        pictures: (3, H', W') RGB in 0..255 as the network is shown it, and (H, W) of its labels.
        repeats: counted rounds over all pictures.

    Returns:
        ``first_seconds`` of the engine's first round, which may write its file; medians per
        picture of ``eager_cpu``, ``cpu``, ``eager_wall`` and ``wall`` in seconds; ``faster_cpu``
        and ``faster_wall``, the medians of the rounds' ratios eager / engine; ``agreement`` and
        ``worst_agreement`` of the labels; ``taken``, whether that is enough.
    """
    install_runtime(model, rule, cfg)
    label = partial(_label, model, pictures)
    with eager(model):
        label()
    first, _ = timed(model.device, label)
    rounds = []
    for _ in range(repeats):
        with eager(model):
            before, _ = timed(model.device, label)
        rounds.append((before, timed(model.device, label)[0]))
    agreement = measure_agreement(model, pictures)
    result: dict[str, Any] = {"runtime": agreement.subject, "first_seconds": first.wall}
    for place, clock in enumerate(Seconds._fields):
        pairs = [(before[place], after[place]) for before, after in rounds]
        medians = [statistics.median(times) / len(pictures) for times in zip(*pairs, strict=True)]
        result[f"eager_{clock}"], result[clock] = medians
        result[f"faster_{clock}"] = statistics.median(before / after for before, after in pairs)
    return result | {
        "agreement": agreement.share,
        "worst_agreement": agreement.worst,
        "taken": agreement.is_enough,
    }


def _label(model: Segmenter, pictures: Sequence[tuple[Tensor, Size]]) -> None:
    for picture, size in pictures:
        model.postprocess(model.segment(picture, size))
