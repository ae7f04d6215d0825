"""Several processes give the same figures as one, to the last digit."""

import json
import os
import socket

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.data import DatasetCatalog
from detectron2.utils import comm

from ovs_core.evaluation import OVSPanopticEvaluator, OVSSemSegEvaluator
from ovs_core.evaluation.distributed import sum_over_processes

CATEGORIES = [{"id": i, "isthing": i % 2, "name": f"k{i}"} for i in range(1, 7)]


def run(task, world, folder, *arguments):
    """Run ``task(rank, world, *arguments)`` in processes; give what each returns, as JSON text."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Forked processes see the datasets that the test has registered.
    mp.start_processes(
        worker, (task, world, port, folder, arguments), nprocs=world, start_method="fork"
    )
    return [(folder / f"{rank}.json").read_text() for rank in range(world)]


def worker(rank, task, world, port, folder, arguments):
    torch.set_num_threads(1)  # the threads of the parent did not come along
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=world)
    comm.create_local_process_group(world)
    (folder / f"{rank}.json").write_text(json.dumps(task(rank, world, *arguments)))
    dist.barrier()
    dist.destroy_process_group()


def evaluate(rank, world, semantic, panoptic, pictures):
    """Score every picture whose turn it is; of three processes one gets no semantic picture."""
    records = DatasetCatalog.get(semantic)
    first, second = OVSSemSegEvaluator(semantic), OVSPanopticEvaluator(panoptic)
    for i in range(rank, len(records), world):
        first.process([records[i]], [{"sem_seg": torch.from_numpy(labels(i))}])
    for i in range(rank, pictures, world):
        ids, segments = panoptic_map(i, holes=0.3)
        second.process([{"image_id": i}], [{"panoptic_seg": (torch.from_numpy(ids), segments)}])
    return {**first.evaluate(), **second.evaluate()}


def labels(seed):
    return np.random.default_rng(seed).integers(0, 9, (30, 40))


def panoptic_map(seed, holes=0.0):
    """Blocks of 7 x 9 pixels; holes make the IoUs uneven fractions."""
    rng = np.random.default_rng(seed)
    segments = [{"id": n, "category_id": int(rng.integers(1, 7))} for n in range(1, 13)]
    blocks = np.kron(np.arange(1, 13).reshape(3, 4), np.ones((7, 9), int))
    blocks[rng.random(blocks.shape) < holes] = 0
    return blocks, segments


def add_up(rank, world):
    totals = sum_over_processes(torch.tensor(rank + 1), torch.full((2, 2), rank))
    return [total.tolist() for total in totals]


def test_one_process_needs_no_group():
    (total,) = sum_over_processes(torch.arange(3))
    assert total.tolist() == [0, 1, 2]


@pytest.mark.slow
def test_sums_reach_every_process(tmp_path):
    assert run(add_up, 2, tmp_path) == ["[3, [[1, 1], [1, 1]]]"] * 2


@pytest.mark.slow
def test_two_and_three_processes_equal_one(register, register_panoptic, tmp_path):
    truths = [np.where(labels(i) < 6, labels(i), labels(i + 50)) for i in range(2)]
    split = {"seen_classes": (0, 1, 2, 3), "unseen_classes": (4, 5, 6, 7, 8)}
    semantic = register([truth.astype(np.uint8) for truth in truths], 9, **split)
    maps = [panoptic_map(i) for i in range(11)]
    panoptic = register_panoptic([m for m, _ in maps], [s for _, s in maps], CATEGORIES)
    arguments = (tmp_path, semantic, panoptic, len(maps))
    (one,) = run(evaluate, 1, *arguments)
    assert 10 < json.loads(one)["panoptic_seg"]["PQ"] < 90
    assert 10 < json.loads(one)["sem_seg"]["hIoU"] < 90
    for world in (2, 3):
        first, *others = run(evaluate, world, *arguments)
        assert first == one
        assert others == ["{}"] * (world - 1)
