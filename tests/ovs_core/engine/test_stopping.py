"""A training that is ended from outside goes on as if it had not been."""

import multiprocessing
import os
import signal
import time

import pytest
import torch
from detectron2.utils import comm

from ovs_core.commands import main
from ovs_core.engine.run import run
from ovs_core.engine.train_step import TrainStep
from ovs_core.engine.trainer import Trainer
from ovs_core.modeling.checkpoint import read_checkpoint

TRAIN = ["DATASETS.TEST", "()", "SOLVER.CHECKPOINT_PERIOD", "100"]


@pytest.fixture
def curve(monkeypatch):
    """Gives the losses that were logged since it was last asked: iteration -> loss."""
    found = {}
    step = TrainStep._write_metrics

    def note(self, losses, *rest):
        found[self.iter] = sum(float(loss) for loss in losses.values())
        step(self, losses, *rest)

    monkeypatch.setattr(TrainStep, "_write_metrics", note)

    def take():
        taken = dict(found)
        found.clear()
        return taken

    return take


@pytest.fixture
def undisturbed(world, tmp_path, curve):
    """Losses and weights of the run that nothing happens to."""
    run(str(world / "toy.yaml"), [*TRAIN, "OUTPUT_DIR", str(tmp_path / "whole")])
    return curve(), weights(tmp_path / "whole")


def weights(folder):
    return read_checkpoint(folder / "model_final.pth")["model"]


def at_step(monkeypatch, number, act, rank=0):
    """Do something at the start of a step of one process."""
    step = TrainStep.run_step

    def disturbed(self):
        if self.iter == number and comm.get_rank() == rank:
            act()
        step(self)

    monkeypatch.setattr(TrainStep, "run_step", disturbed)


def told(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


def assert_same(one, other):
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_a_scheduler_ends_a_training(world, tmp_path, monkeypatch, undisturbed, curve, capfd):
    config = str(world / "toy.yaml")
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        at_step(patch, 4, lambda: told(signal.SIGUSR1))
        run(config, TRAIN)
    assert ended.value.code == 138
    assert "after 5 of 12 steps; go on with --resume" in capfd.readouterr().err
    assert read_checkpoint(tmp_path / "run" / "model_0000004.pth")["iteration"] == 4
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    first = curve()
    run(config, TRAIN, resume=True)
    losses, trained = undisturbed
    assert {**first, **curve()} == losses and len(first) == 5
    assert_same(trained, weights(tmp_path / "run"))


def test_an_evaluation_is_broken_off(world, tmp_path, monkeypatch, undisturbed):
    config, often = str(world / "toy.yaml"), [*TRAIN[2:], "TEST.EVAL_PERIOD", "4"]
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(Trainer, "test", lambda *_: told() or time.sleep(60))
        run(config, often)
    assert ended.value.code == 143
    assert read_checkpoint(tmp_path / "run" / "model_0000003.pth")["iteration"] == 3
    run(config, often, resume=True)
    assert_same(undisturbed[1], weights(tmp_path / "run"))


def test_told_at_the_last_step_a_training_ends_as_planned(world, tmp_path, monkeypatch):
    at_step(monkeypatch, 11, told)
    run(str(world / "toy.yaml"), TRAIN)
    assert (tmp_path / "run" / "model_final.pth").is_file()


def test_all_processes_end_after_the_same_step(world, tmp_path, monkeypatch, forking, undisturbed):
    """One of two is told; one process goes on, with the curve of one that did it all."""
    line = ["train", "--config-file", str(world / "toy.yaml"), "--device", "cpu"]
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        at_step(patch, 4, told, rank=1)
        main([*line, "--num-gpus", "2", *TRAIN])
    assert ended.value.code == 143
    assert read_checkpoint(tmp_path / "run" / "model_0000004.pth")["iteration"] == 4
    run(str(world / "toy.yaml"), TRAIN, resume=True)
    assert_close(undisturbed[1], weights(tmp_path / "run"))


def test_the_process_that_started_the_others_hands_on(world, tmp_path, monkeypatch, forking):
    starter = os.getpid()
    at_step(monkeypatch, 4, lambda: os.kill(starter, signal.SIGTERM) or time.sleep(0.5))
    line = ["train", "--config-file", str(world / "toy.yaml"), "--device", "cpu"]
    with pytest.raises(SystemExit) as ended:
        main([*line, "--num-gpus", "2", *TRAIN])
    assert ended.value.code == 143
    assert list((tmp_path / "run").glob("model_000*.pth"))


def test_a_killed_process(world, tmp_path, monkeypatch, forking, undisturbed, capfd):
    """One line; one process goes on from the last checkpoint of the two."""
    line = ["train", "--config-file", str(world / "toy.yaml"), "--device", "cpu"]
    line += ["--num-gpus", "2", *TRAIN[:2], "SOLVER.CHECKPOINT_PERIOD", "2"]
    with monkeypatch.context() as patch:
        at_step(patch, 4, lambda: told(signal.SIGKILL), rank=1)
        assert main(line) == 1
    assert capfd.readouterr().err.count("\n") == 1
    run(str(world / "toy.yaml"), TRAIN, resume=True)
    assert_close(undisturbed[1], weights(tmp_path / "run"))


def test_a_lost_worker(world, tmp_path, monkeypatch, undisturbed, capfd):
    """One line; the run goes on from the last checkpoint."""
    config = str(world / "toy.yaml")
    line = ["train", "--config-file", config, *TRAIN[:2], "SOLVER.CHECKPOINT_PERIOD", "2"]
    line += ["DATALOADER.NUM_WORKERS", "2"]
    with monkeypatch.context() as patch:
        at_step(patch, 4, lambda: [os.kill(w.pid, signal.SIGKILL) for w in workers()])
        assert main(line) == 1
    assert "was killed, maybe for want of memory" in capfd.readouterr().err
    assert main([*line, "--resume"]) == 0
    assert_same(undisturbed[1], weights(tmp_path / "run"))


def test_workers_outlive_what_a_scheduler_sends_to_each(world, tmp_path, monkeypatch, undisturbed):
    """Sent by another process than the one that started them."""
    sender = multiprocessing.get_context("fork").Process

    def tell_all():
        pids = [os.getpid(), *(worker.pid for worker in workers())]
        assert len(pids) == 3
        process = sender(target=lambda: [os.kill(pid, signal.SIGTERM) for pid in pids])
        process.start()
        process.join()

    config, options = str(world / "toy.yaml"), [*TRAIN, "DATALOADER.NUM_WORKERS", "2"]
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        at_step(patch, 4, tell_all)
        run(config, options)
    assert ended.value.code == 143
    run(config, options, resume=True)
    assert_same(undisturbed[1], weights(tmp_path / "run"))


def workers():
    """Processes that read pictures."""
    return [child for child in multiprocessing.active_children() if child.daemon]


def assert_close(one, other):
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-4, atol=1e-6, msg=name)
