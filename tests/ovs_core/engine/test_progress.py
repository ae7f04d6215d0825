"""What a step logs beside its losses, and what it does when they are not finite."""

import json
import sys

import pytest

from ovs_core.commands import main
from ovs_core.engine.run import run
from ovs_core.modeling.checkpoint import read_checkpoint

SHORT = ["DATASETS.TEST", "()", "SOLVER.MAX_ITER", "6"]


def test_rates_speed_and_memory(world, tmp_path):
    run(str(world / "toy.yaml"), [*SHORT, "SOLVER.PARAM_MULTIPLIERS", "[['head.2.bias', 0.5]]"])
    (line,) = (tmp_path / "run" / "metrics.json").read_text().splitlines()
    logged = json.loads(line)
    rates = [logged[f"lr_of_group/{i}"] for i in range(3)]
    assert logged["lr"] in rates and min(rates) == pytest.approx(max(rates) / 2)
    assert logged["pictures_per_s"] > 0 and logged["memory_mib"] > 100


@pytest.fixture
def spoilt(world, monkeypatch):
    """The toy has no finite loss for the third picture."""
    toy = sys.modules["ovs_toy"].Toy
    losses = toy.losses

    def spoil(self, batched_inputs):
        found = losses(self, batched_inputs)
        if any(one["file_name"].endswith("/3.png") for one in batched_inputs):
            return {name: loss * float("nan") for name, loss in found.items()}
        return found

    monkeypatch.setattr(toy, "losses", spoil)
    return str(world / "toy.yaml")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_loss_that_is_not_finite(spoilt, tmp_path, forking, capfd, processes):
    line = ["train", "--config-file", spoilt, "--device", "cpu", "--num-gpus", str(processes)]
    assert main([*line, "SOLVER.CHECKPOINT_PERIOD", "1", *SHORT]) == 1
    (said,) = capfd.readouterr().err.splitlines()
    assert "the loss is not finite at iteration" in said and "/3.png" in said
    assert said.count(".png") == 4 // processes and "lower SOLVER.BASE_LR" in said
    for path in (tmp_path / "run").glob("*.pth"):
        assert all(tensor.isfinite().all() for tensor in read_checkpoint(path)["model"].values())
