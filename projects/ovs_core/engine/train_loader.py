"""A training loader whose n-th picture depends on the seed and n alone.

A run that was stopped at iteration i goes on with exactly the pictures, crops and flips that it
would have seen, whatever the number of worker processes or GPUs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import build_batch_data_loader
from detectron2.data.build import (
    filter_images_with_only_crowd_annotations,
    worker_init_reset_seed,
)
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import UserError
from .stopping import leave_signals_to_parent

Sample = dict[str, Any]  # a Detectron2 dataset dict, or what a mapper makes of it
Mapper = Callable[[Sample], Sample]


class Draws(Dataset[Sample]):
    """Endless shuffled passes over a dataset, addressed by the number of the draw.

    Args:
        dicts: dataset dicts.
        mapper: dict -> training sample; may use any of the common random generators.
        seed: of the order and of the augmentations.
    """

    def __init__(self, dicts: Sequence[Sample], mapper: Mapper, seed: int) -> None:
        self.dicts, self.mapper, self.seed = dicts, mapper, seed
        self._order: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        """Pictures in one pass."""
        return len(self.dicts)

    def index(self, draw: int) -> int:
        """Which dataset entry draw number ``draw`` is."""
        epoch, position = divmod(draw, len(self.dicts))
        if self._order is None or self._order[0] != epoch:
            generator = np.random.default_rng([self.seed, epoch])
            self._order = (epoch, generator.permutation(len(self.dicts)))
        return int(self._order[1][position])

    def __getitem__(self, draw: int) -> Sample:
        """Map draw number ``draw``; the sample says which it is."""
        with fixed_randomness(self.seed, draw):
            return {**self.mapper(dict(self.dicts[self.index(draw)])), "draw": draw}


class DrawSampler(Sampler[int]):
    """The draw numbers of one process, from any iteration on.

    The draws of an iteration are cut into one run per process, so that neighbours stay together.

    Args:
        batch: pictures per iteration over all processes.
    """

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.start_iteration = 0
        self._rank, self._world = comm.get_rank(), comm.get_world_size()

    def __iter__(self) -> Iterator[int]:
        """Count on for ever."""
        share = self.batch // self._world
        for iteration in count(self.start_iteration):
            first = iteration * self.batch + self._rank * share
            yield from range(first, first + share)


@contextmanager
def fixed_randomness(*seed: int) -> Iterator[None]:
    """Seed Python's, NumPy's and torch's CPU generator inside the block, restore them after it."""
    state, numpy_state, torch_state = (
        random.getstate(),
        np.random.get_state(),
        torch.get_rng_state(),
    )
    seed_everything(*seed)
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)


def seed_everything(*seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators from several integers."""
    words = np.random.SeedSequence([abs(s) for s in seed]).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.manual_seed(int(words[2]))


def check_batch(batch: int, world: int) -> None:
    """Refuse a batch that processes cannot share evenly.

    Args:
        batch: pictures per iteration over all processes.
        world: count of processes.

    Raises:
        UserError: names the key.
    """
    if batch % world:
        raise UserError(
            f"SOLVER.IMS_PER_BATCH {batch} cannot be split over {world} processes evenly"
        )


def kept_for_training(cfg: CfgNode, dicts: Sequence[Sample]) -> Sequence[Sample]:
    """Leave out the records that ``DATALOADER.FILTER_EMPTY_ANNOTATIONS`` leaves out.

    Args:
        cfg: config.
        dicts: dataset dicts of all training sets.

    Raises:
        UserError: if nothing is left.
    """
    if not dicts:
        raise UserError(f"DATASETS.TRAIN {tuple(cfg.DATASETS.TRAIN)} holds no picture")
    if not (cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS and "annotations" in dicts[0]):
        return dicts
    kept: Sequence[Sample] = filter_images_with_only_crowd_annotations(dicts)
    if not kept:
        raise UserError(
            f"DATASETS.TRAIN {tuple(cfg.DATASETS.TRAIN)}: no picture has a box; check the "
            "annotations, or set DATALOADER.FILTER_EMPTY_ANNOTATIONS False"
        )
    return kept


def build_train_loader(
    cfg: CfgNode, dicts: Sequence[Sample], mapper: Mapper
) -> tuple[DataLoader[list[Sample]], DrawSampler]:
    """Build the loader of ``SOLVER.IMS_PER_BATCH`` pictures per iteration.

    Args:
        cfg: config.
        dicts: dataset dicts.
        mapper: dict -> training sample.

    Returns:
        The loader, and its sampler, whose ``start_iteration`` may be set before the first batch.

    Raises:
        UserError: if the dataset is empty or has boxes in no picture, or the batch cannot be split
            over the processes evenly.
    """
    batch = cfg.SOLVER.IMS_PER_BATCH
    dicts = kept_for_training(cfg, dicts)
    check_batch(batch, comm.get_world_size())
    sampler = DrawSampler(batch)
    loader = build_batch_data_loader(
        Draws(dicts, mapper, cfg.SEED),
        sampler,
        batch,
        aspect_ratio_grouping=False,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )
    loader.worker_init_fn = _start_worker
    return loader, sampler


def _start_worker(number: int) -> None:
    worker_init_reset_seed(number)
    leave_signals_to_parent()
