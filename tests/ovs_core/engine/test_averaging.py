"""The mean of the trained weights: what it is, who gets it, and that training does not notice."""

import pytest
import torch

from ovs_core.engine.config import load_cfg
from ovs_core.engine.run import build_segmenter, run
from ovs_core.engine.train_step import TrainStep
from ovs_core.engine.trainer import Trainer
from ovs_core.modeling.checkpoint import read_checkpoint, trained_state
from ovs_core.modeling.contract import bare

DECAY = 0.5
AVERAGED = ["SOLVER.EMA_DECAY", str(DECAY), "DATASETS.TEST", "()", "SOLVER.MAX_ITER", "8"]


@pytest.fixture
def steps(monkeypatch):
    """Weights before the first step that was made, and after each."""
    found = []
    step = TrainStep.run_step

    def note(self):
        state = trained_state(bare(self.model))
        if not found:
            found.append({name: tensor.clone() for name, tensor in state.items()})
        step(self)
        found.append({name: tensor.clone() for name, tensor in state.items()})

    monkeypatch.setattr(TrainStep, "run_step", note)
    return found


def read(folder, name="model_final.pth"):
    return read_checkpoint(folder / name)


def assert_equal(one, other, **tolerance):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], msg=name, **tolerance)


def test_the_mean_is_written_and_loaded(world, tmp_path, steps):
    config = str(world / "toy.yaml")
    run(config, AVERAGED)
    mean = steps[0]
    for i, weights in enumerate(steps[1:]):
        decay = min(DECAY, (1 + i) / (10 + i))
        mean = {name: decay * mean[name] + (1 - decay) * weights[name] for name in mean}
    written = read(tmp_path / "run")["model"]
    assert_equal(written, mean)
    assert not torch.equal(written["head.2.weight"], steps[-1]["head.2.weight"])
    cfg = load_cfg(config, ["MODEL.WEIGHTS", str(tmp_path / "run" / "model_final.pth")])
    assert_equal(trained_state(build_segmenter(cfg)), written, rtol=0, atol=0)


def test_training_does_not_notice(world, tmp_path, steps):
    run(str(world / "toy.yaml"), AVERAGED)
    averaged = list(steps)
    steps.clear()
    run(str(world / "toy.yaml"), [*AVERAGED[2:], "OUTPUT_DIR", str(tmp_path / "plain")])
    for one, other in zip(averaged, steps, strict=True):
        assert_equal(one, other, rtol=0, atol=0)


def test_a_run_goes_on_from_the_weights_and_from_the_mean(world, tmp_path, monkeypatch):
    config = str(world / "toy.yaml")
    run(config, [*AVERAGED, "OUTPUT_DIR", str(tmp_path / "whole")])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TrainStep, "run_step", interrupted(TrainStep.run_step, at=6))
        run(config, AVERAGED)  # checkpoints after 2, 4 and 6 steps
    run(config, AVERAGED, resume=True)
    whole, resumed = read(tmp_path / "whole"), read(tmp_path / "run")
    assert_equal(whole["model"], resumed["model"], rtol=0, atol=0)
    trained = [one["trainer"]["_trainer"]["trained"] for one in (whole, resumed)]
    assert_equal(*trained, rtol=0, atol=0)


def interrupted(step, at):
    def run_step(self):
        if self.iter == at:
            raise KeyboardInterrupt
        step(self)

    return run_step


@pytest.mark.parametrize(("before", "after"), [(0.0, DECAY), (DECAY, 0.0)])
def test_it_may_be_switched_for_a_run_that_goes_on(world, tmp_path, steps, before, after):
    config = str(world / "toy.yaml")
    run(config, [*AVERAGED, "SOLVER.EMA_DECAY", str(before), "SOLVER.MAX_ITER", "4"])
    last = steps[-1]
    steps.clear()
    run(config, [*AVERAGED, "SOLVER.EMA_DECAY", str(after)], resume=True)
    assert_equal(last, steps[0], rtol=0, atol=0)
    if not after:
        assert_equal(read(tmp_path / "run")["model"], steps[-1], rtol=0, atol=0)


def test_the_mean_is_evaluated(world, monkeypatch):
    seen = {}

    def look(cfg, model, evaluators=None):
        seen["evaluated"] = {n: t.clone() for n, t in trained_state(bare(model)).items()}
        return {}

    monkeypatch.setattr(Trainer, "test", staticmethod(look))
    run(str(world / "toy.yaml"), [*AVERAGED, "DATASETS.TEST", "('toy_val',)"])
    output = world.parent / "run"
    assert_equal(seen["evaluated"], read(output)["model"], rtol=0, atol=0)
