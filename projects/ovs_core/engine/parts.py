"""Sharing what the parts of a step must know of each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from detectron2.utils import comm

from ..errors import UserError
from ..modeling.batch_norm import split_batch_norms
from ..modeling.contract import OpenVocabularyModel
from ..modeling.global_batch import Facts, GlobalBatch, picture_size
from .train_loader import Sample

Around = Callable[[list[Sample]], AbstractContextManager[None]]


def global_batches(
    model: OpenVocabularyModel, parts: Sequence[list[Sample]], around: Around
) -> list[GlobalBatch | None]:
    """Tell every part of a step about the pictures of all parts.

    Args:
        model: gives the facts.
        parts: batches of this process, to be accumulated.
        around: what each part is computed in.

    Returns:
        The step as each part sees it; None where the step has one part, which knows all of it.
    """
    if len(parts) * comm.get_world_size() == 1:
        return [None]
    facts: list[list[Facts]] = [[{"size": picture_size(one)} for one in part] for part in parts]
    batches = _gathered(facts)
    for ask in [model.starting_facts] * model.starting + [model.facts]:
        for part, batch, own in zip(parts, batches, facts, strict=True):
            with model.part_of(batch), around(part):
                own[:] = [{**a, **b} for a, b in zip(own, ask(part), strict=True)]
        batches = _gathered(facts)
    return list(batches)


def _gathered(facts: list[list[Facts]]) -> list[GlobalBatch]:
    """What each of this process's parts sees, from the facts of its own pictures."""
    everywhere: list[list[list[Facts]]] = comm.all_gather(facts)
    # Draws count on over the processes first, then over accumulated batches.
    order = [one for part in range(len(facts)) for process in everywhere for one in process[part]]
    batches, size = [], len(facts[0])
    for part in range(len(facts)):
        start = (part * len(everywhere) + comm.get_rank()) * size
        batches.append(GlobalBatch(order, start, size, last=part == len(facts) - 1))
    return batches


def check_split(model: OpenVocabularyModel, pictures: int, accumulate: int) -> None:
    """Refuse a split of the batch that would make another training of it.

    Args:
        model: in training mode.
        pictures: of each part.
        accumulate: parts of each process.

    Raises:
        UserError: names the key.
    """
    model.check_split(pictures, accumulate)
    norms = split_batch_norms(model, processes=comm.get_world_size(), parts=accumulate)
    if norms:
        raise UserError(
            f"SOLVER.ACCUMULATE {accumulate} with {comm.get_world_size()} processes: {len(norms)} "
            f"batch norms, such as {norms[0]}, would see {pictures} pictures at a time, not the "
            "whole batch; use ACCUMULATE 1 and synchronised norms, or norms that take each picture "
            "for itself (GN)"
        )
