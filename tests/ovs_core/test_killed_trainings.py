"""Trainings that are killed at any moment go on to the weights of one that was left alone.

Each method is killed once, which takes a minute. OVSUITE_KILLS=10 kills each ten times:
``OVSUITE_KILLS=10 python -m pytest tests/ovs_core/test_killed_trainings.py``.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ovs_core.files.locks import LOCK
from ovs_core.modeling.checkpoint import read_checkpoint

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("OVSUITE_KILLS", "1"))
PERIOD, ITERATIONS = 3, 12
SHORT = [
    "MODEL.DEVICE", "cpu", "DATASETS.TEST", "()", "SOLVER.MAX_ITER", str(ITERATIONS),
    "SOLVER.CHECKPOINT_PERIOD", str(PERIOD), "SOLVER.IMS_PER_BATCH", "2",
]  # fmt: skip
METHODS = {
    "hclip": [],
    "sptseg": [],
    "clipteacher": ["MODEL.CLIPTEACHER.STUDENT.HEAD_WIDTH", "16", "INPUT.MMSEG.CROP", "64"],
    "maftplus": [],
}


def start(method, folder, *options):
    command = [sys.executable, str(ROOT / "train_net.py"), "--config-file", f"{method}/tiny"]
    return subprocess.Popen(
        [*command, *options, "OUTPUT_DIR", str(folder), *SHORT, *METHODS[method]],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process):
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-3000:]


def newest(folder):
    return max((int(path.stem[6:]) for path in folder.glob("model_0*.pth")), default=-1)


def kill_somewhere(process, folder, chosen, *, between):
    """Kill at a random moment: of the whole run, or of the steps that follow a checkpoint."""
    before = newest(folder)
    while process.poll() is None and newest(folder) == before and between:
        time.sleep(0.01)
    time.sleep(chosen.uniform(0, 1 if between else 12))
    alive = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return alive


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("method", METHODS)
def test_killed_trainings(method, tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "run"
    finish(start(method, whole))
    chosen, killed = random.Random(method), 0
    for number in range(KILLS):
        process = start(method, folder, "--resume")
        killed += kill_somewhere(process, folder, chosen, between=number % 2 == 0)
        for path in folder.glob("model_*.pth"):
            read_checkpoint(path)  # a half-written file would raise
        if (folder / "model_final.pth").exists():  # it was quicker; begin anew
            for path in [*folder.glob("*.pth"), folder / "last_checkpoint"]:
                path.unlink()
    assert killed
    finish(start(method, folder, "--resume"))
    expected, found = (read_checkpoint(f / "model_final.pth") for f in (whole, folder))
    assert expected["model"].keys() == found["model"].keys()
    for name, tensor in expected["model"].items():
        assert torch.equal(tensor, found["model"][name]), name
    assert {path.name for path in folder.glob(".*")} <= {LOCK}
