"""Which checkpoints a training leaves: the best by a figure, and the last ones."""

import json
from collections import OrderedDict
from types import SimpleNamespace

import pytest
import torch

from ovs_core.engine.best import BestCheckpoint
from ovs_core.engine.run import run
from ovs_core.engine.trainer import Trainer
from ovs_core.errors import UserError
from ovs_core.modeling.checkpoint import read_checkpoint

OFTEN = ["TEST.EVAL_PERIOD", "2", "SOLVER.MAX_ITER", "8", "TEST.BEST_METRIC", "sem_seg/mIoU"]


@pytest.fixture
def figures(monkeypatch):
    """What the evaluations of a training find, in their order; to be filled."""
    left = []

    def test(cfg, model, evaluators=None):
        return OrderedDict(sem_seg=OrderedDict(mIoU=left.pop(0), pACC=1.0))

    monkeypatch.setattr(Trainer, "test", staticmethod(test))
    return left


def best(folder):
    """Iteration of the kept weights, after they were compared with the checkpoint of then."""
    weights = read_checkpoint(folder / "model_best.pth")
    iteration = json.loads((folder / "model_best.json").read_text())["iteration"]
    then = read_checkpoint(folder / f"model_{iteration:07d}.pth")
    assert all(torch.equal(t, then["model"][n]) for n, t in weights["model"].items())
    assert weights["iteration"] == iteration
    return iteration


@pytest.mark.parametrize(
    ("values", "iteration"),
    [([4, 5, 5, 2], 3), ([float("nan"), 1, 0, 9], 7)],
)
def test_the_highest_figure(world, tmp_path, figures, values, iteration):
    figures += values
    run(str(world / "toy.yaml"), OFTEN)
    assert best(tmp_path / "run") == iteration
    assert (tmp_path / "run" / "last_checkpoint").read_text() == "model_final.pth"


def test_a_run_that_goes_on_knows_the_best(world, tmp_path, figures):
    figures += [7, 3, 1, 6, 2]
    run(str(world / "toy.yaml"), [*OFTEN, "SOLVER.MAX_ITER", "4"])
    run(str(world / "toy.yaml"), OFTEN, resume=True)
    assert best(tmp_path / "run") == 1


def test_a_figure_that_no_evaluation_gives(world, figures):
    figures += [1, 2]
    with pytest.raises(UserError, match="'sem_seg/mIuO' is unknown. Did you mean 'sem_seg/mIoU'"):
        run(str(world / "toy.yaml"), [*OFTEN, "TEST.BEST_METRIC", "sem_seg/mIuO"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["TEST.BEST_METRIC", "semseg/mIoU"], "'semseg' is unknown. Did you mean 'sem_seg'"),
        (["TEST.EVAL_PERIOD", "0"], "nothing is evaluated while it trains; set TEST.EVAL_PERIOD"),
        (["DATASETS.TEST", "()"], "set TEST.EVAL_PERIOD and DATASETS.TEST"),
    ],
)
def test_mistakes_are_seen_before_the_training(world, monkeypatch, options, message):
    monkeypatch.setattr(Trainer, "build_model", lambda _: pytest.fail("a model was built"))
    with pytest.raises(UserError, match=message):
        run(str(world / "toy.yaml"), [*OFTEN, *options])


def test_the_last_checkpoints_are_kept(world, tmp_path):
    options = ["DATASETS.TEST", "()", "SOLVER.KEEP_CHECKPOINTS", "2", "SOLVER.MAX_ITER"]
    run(str(world / "toy.yaml"), [*options, "8"])
    names = {path.name for path in (tmp_path / "run").glob("*.pth")}
    assert names == {"model_0000005.pth", "model_0000007.pth", "model_final.pth"}
    run(str(world / "toy.yaml"), [*options, "9"], resume=True)
    assert {path.name for path in (tmp_path / "run").glob("*.pth")} == names


def test_a_damaged_record_of_the_best_is_named(tmp_path):
    (tmp_path / "model_best.json").write_text("{")
    with pytest.raises(UserError, match=r"model_best\.json: damaged"):
        BestCheckpoint(SimpleNamespace(save_dir=tmp_path), "sem_seg/mIoU")
