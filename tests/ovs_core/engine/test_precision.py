"""Half precision: what a training in it must not lose."""

import pytest
import torch

from ovs_core.engine import train_step
from ovs_core.engine.run import run
from tests.ovs_core.engine.conftest import load_toy


@pytest.fixture
def heavy(monkeypatch):
    """A toy whose loss is in the hundreds, as focal losses are."""
    toy = load_toy().Toy
    losses = toy.losses

    def heavier(self, batch):
        return {name: 500 * one for name, one in losses(self, batch).items()}

    monkeypatch.setattr(toy, "losses", heavier)


def test_no_step_in_float16_is_lost_to_the_search_for_a_scale(world, heavy, tmp_path):
    whole, half = weights(world, tmp_path / "whole"), float16(world, tmp_path / "half")
    moved = {name: tensor - half["start"][name] for name, tensor in whole.items()}
    for name, tensor in half["end"].items():
        off = (tensor - whole[name]).norm() / moved[name].norm()
        assert off < 0.1, (name, off)


def test_a_scale_that_is_too_large_would_lose_them(world, heavy, tmp_path, monkeypatch):
    monkeypatch.setattr(train_step, "SCALED_LOSS", 2.0**40)
    half = float16(world, tmp_path / "half")
    for name, tensor in half["end"].items():
        torch.testing.assert_close(tensor, half["start"][name], rtol=0, atol=1e-8)


def float16(world, folder):
    amp = ["SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", "float16"]
    still = ["SOLVER.BASE_LR", "1e-12", "SOLVER.MAX_ITER", "1"]
    return {"start": weights(world, f"{folder}_start", still), "end": weights(world, folder, amp)}


def weights(world, folder, keys=()):
    steps = ["SOLVER.MAX_ITER", "3", "DATASETS.TEST", "()", "OUTPUT_DIR", str(folder)]
    run(str(world / "toy.yaml"), [*steps, *keys])
    return torch.load(f"{folder}/model_final.pth", weights_only=True)["model"]
