import random
from itertools import islice

import numpy as np
import pytest
import torch

from ovs_core.engine.train_loader import Draws, DrawSampler, fixed_randomness

DICTS = [{"n": i} for i in range(7)]


def augmenting_mapper(sample):
    noise = (random.random(), float(np.random.rand()), float(torch.rand(())))
    return {**sample, "noise": noise}


def test_every_pass_holds_every_picture_once_in_another_order():
    draws = Draws(DICTS, augmenting_mapper, seed=3)
    passes = [[draws.index(7 * e + i) for i in range(7)] for e in range(3)]
    assert all(sorted(p) == list(range(7)) for p in passes)
    assert passes[0] != passes[1]


def test_a_draw_depends_on_seed_and_number_alone():
    a, b = Draws(DICTS, augmenting_mapper, 3), Draws(DICTS, augmenting_mapper, 3)
    forward = [a[i] for i in range(20)]
    backward = [b[i] for i in reversed(range(20))][::-1]
    assert forward == backward
    assert forward[0]["noise"] != Draws(DICTS, augmenting_mapper, 4)[0]["noise"]
    assert len({d["noise"] for d in forward}) == 20


def test_the_outer_generators_are_left_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with fixed_randomness(1, 2):
        torch.rand(100), np.random.rand(5), random.random()
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_share_the_global_batches(world, monkeypatch):
    batch = 6
    global_batches = []
    streams = []
    for rank in range(world):
        sampler = DrawSampler(batch)
        sampler._rank, sampler._world = rank, world
        sampler.start_iteration = 4
        streams.append(iter(sampler))
    for _ in range(3):
        global_batches.append(sorted(d for s in streams for d in islice(s, batch // world)))
    assert global_batches == [list(range(b * batch, (b + 1) * batch)) for b in (4, 5, 6)]
