"""What a process of a run fails of is told once, by the process that was started by the person."""

import errno
import os
import signal
import sys
from argparse import Namespace

import pytest
import torch
import torch.multiprocessing as mp

from ovs_core.commands import guarded
from ovs_core.engine import launching
from ovs_core.engine.launching import run_distributed
from ovs_core.errors import UserError


def one_process(rank, main, args):
    main(*args)


def launch_without_gpus(main, count, machines, rank, url, args):
    """Detectron2's launch, less the GPUs and the exchange between the processes."""
    mp.start_processes(one_process, nprocs=count, args=(main, args), start_method="fork")


def mistaken(args):
    raise UserError("toy.yaml: a mistake")


def full(args):
    raise OSError(errno.ENOSPC, "No space left on device", "model_final.pth")


def killed(args):
    os.kill(os.getpid(), signal.SIGKILL)


def ended(args):
    print("told by whoever ended", file=sys.stderr)
    sys.exit(3)


def unexpected(args):
    raise ValueError("no one thought of this")


@pytest.fixture
def start(monkeypatch):
    """Run a function in three processes, as ``--num-gpus 3`` would."""
    monkeypatch.setattr(launching, "launch", launch_without_gpus)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    args = Namespace(num_gpus=3, num_machines=1, machine_rank=0, dist_url="auto")
    return lambda main, **options: guarded(lambda: run_distributed(main, args) or 0, **options)


@pytest.mark.parametrize(
    ("main", "line"),
    [
        (mistaken, "error: toy.yaml: a mistake\n"),
        (full, "error: model_final.pth: No space left on device; make room, or name a folder on "
               "another disk\n"),
        (killed, "error: a process of this run was killed, maybe for want of memory; use fewer or "
                 "smaller pictures at a time, a smaller model, or another --device\n"),
    ],
)  # fmt: skip
def test_one_line_with_the_exit_code_of_an_error(start, capfd, main, line):
    assert start(main) == 1
    assert capfd.readouterr().err == line


def test_the_trace_is_that_of_the_process(start, capfd):
    assert start(mistaken, verbose=True) == 1
    assert "in mistaken" in capfd.readouterr().err


def test_an_exit_code_is_handed_on(start):
    with pytest.raises(SystemExit) as caught:
        start(ended)
    assert caught.value.code == 3


def test_what_nobody_thought_of(start, capfd):
    assert start(unexpected) == 1
    shown = capfd.readouterr().err
    assert "no one thought of this" in shown and shown.count("\n") == 1


def test_more_gpus_than_there_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    args = Namespace(num_gpus=2, num_machines=1, machine_rank=0, dist_url="auto")
    with pytest.raises(
        UserError, match="this machine has 0 GPU.*use --num-gpus 1, or --device cpu --num-gpus 2"
    ):
        run_distributed(mistaken, args)
