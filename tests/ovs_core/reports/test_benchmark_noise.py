"""Slowdowns are told from noise, with timings that are made up."""

import random

import pytest

from ovs_core.errors import UserError
from ovs_core.reports import benchmark
from ovs_core.reports.benchmark_noise import SURE, median_error, read_result, slowdown


def result(level, noise, rounds=9, seed=0):
    draw = random.Random(seed)
    ratios = [level * (1 + draw.gauss(0, noise)) for _ in range(rounds)]
    return {"config": "a", "words": 3, "size": [4, 4], "ratios_cpu": ratios}


@pytest.mark.parametrize("seed", range(5))
def test_fifteen_percent_are_caught_and_noise_is_not(seed):
    before, now = result(1.1, 0.02, seed=seed), result(1.1 * 1.15, 0.02, seed=seed + 50)
    change, noise = slowdown(now, before)
    assert change > noise and change == pytest.approx(0.15, abs=0.05)
    change, noise = slowdown(result(1.1, 0.02, rounds=40, seed=seed + 90), before)
    assert abs(change) < 0.04


def test_a_noisy_machine_cannot_tell():
    change, noise = slowdown(result(1.265, 0.6, rounds=5), result(1.1, 0.6, rounds=5, seed=1))
    assert noise > 0.15


def test_what_a_median_is_worth():
    assert median_error([1.0, 1.1]) == float("inf")
    assert median_error([2.0] * 5) == 0
    assert median_error([1.0, 1.01, 1.02, 5.0, 0.99]) < SURE  # one disturbed round


class Clock:
    """A stage takes what it is told, and no real time."""

    def __init__(self, monkeypatch, rounds):
        self.rounds, self.calls = iter(rounds), 0
        monkeypatch.setattr(benchmark, "_one_round", self.one_round)

    def one_round(self, *_):
        self.calls += 1
        whole = next(self.rounds)
        seconds = dict.fromkeys(benchmark.STAGES, 1.0) | {"end_to_end": whole}
        return seconds, seconds


class Model:
    """Just enough of a method to be reported on."""

    text_embedder, device, vocabulary = None, "cpu", ("word",)

    class clip:
        architecture = "none"

    def encoder_inputs(self, picture):
        return []

    def bare_forward(self, images):
        return images


@pytest.mark.parametrize(
    "rounds, counted", [([1.1] * 9, 3), ([1.0, 2.0, 3.0, 1.0, 2.0, 3.0] * 3, 12)]
)
def test_rounds_go_on_until_the_median_is_sure(monkeypatch, rounds, counted):
    import torch

    clock = Clock(monkeypatch, [7.0, *rounds])
    monkeypatch.setattr(benchmark, "peak_memory", lambda call: 0.0)
    found = benchmark.benchmark(Model(), torch.zeros(3, 4, 4), (4, 4), repeats=3, warmup=1)
    assert clock.calls == 1 + counted and found["repeats"] == counted
    assert (found["error_cpu"] <= SURE) == (counted == 3)
    slow = found | {"ratios_cpu": [1.15 * ratio for ratio in found["ratios_cpu"]]}
    change, noise = slowdown(slow, found)
    assert change == pytest.approx(0.15) and (change > noise) == (counted == 3)


def test_other_runs_are_not_compared(tmp_path):
    with pytest.raises(UserError, match="words is 3 here and 4 there"):
        slowdown(result(1, 0), result(1, 0) | {"words": 4})
    with pytest.raises(UserError, match="cannot be read"):
        read_result(tmp_path / "none.json")
    for text in ("[]", "{}", '{"ratios_cpu": ["a"]}', '{"ratios_cpu": []}'):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(UserError, match="has no ratios_cpu"):
            read_result(tmp_path / "a.json")
