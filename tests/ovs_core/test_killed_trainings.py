"""Trainings that are killed at any moment go on to the weights and figures of one left alone.

Each method is killed once, which takes a minute. OVSUITE_KILLS=10 kills each ten times:
``OVSUITE_KILLS=10 python -m pytest tests/ovs_core/test_killed_trainings.py``.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ovs_core.modeling.checkpoint import read_checkpoint
from tests.miniatures.stripes import write_stripes

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("OVSUITE_KILLS", "1"))
PERIOD, ITERATIONS = 2, 6
SHORT = [
    "MODEL.DEVICE", "cpu", "DATASETS.TEST", "('stripes_val',)", "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.MAX_ITER", str(ITERATIONS), "SOLVER.CHECKPOINT_PERIOD", str(PERIOD),
]  # fmt: skip
METHODS = {
    "hclip": [],
    "sptseg": [],
    "clipteacher": ["MODEL.CLIPTEACHER.STUDENT.HEAD_WIDTH", "16", "INPUT.MMSEG.CROP", "64"],
    "maftplus": [],
}


def pictures(folder):
    """What is evaluated in the end: the file that describes two pictures in the folder."""
    file = folder / "stripes" / "sets.yaml"
    return file if file.exists() else write_stripes(file.parent, "stripes", 2)


def start(method, folder, *options):
    command = [sys.executable, str(ROOT / "train_net.py"), "--config-file", f"{method}/tiny"]
    places = ["OUTPUT_DIR", str(folder), "DATASETS.YAML", str([str(pictures(folder.parent))])]
    return subprocess.Popen(
        [*command, *options, *places, *SHORT, *METHODS[method]],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(process):
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-3000:]


def newest(folder):
    return max((int(path.stem[6:]) for path in folder.glob("model_0*.pth")), default=-1)


def kill_somewhere(process, folder, chosen, span, *, between):
    """Kill at a random moment: of the whole run, or of the steps that follow a checkpoint.

    A run that is left alone takes ``span`` seconds. Gives whether it was at work.
    """
    before = newest(folder)
    while process.poll() is None and newest(folder) == before and between:
        time.sleep(0.01)
    time.sleep(chosen.uniform(0, span / 8 if between else span))
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), errors[-3000:]
    return process.returncode != 0


def results(folder):
    """What the evaluation at the end has found."""
    (path,) = folder.glob("inference/*/*_evaluation.json")
    content = json.loads(path.read_text())
    return content["figures"], content["classes"], content["pictures"]


def names(folder):
    """What a run leaves; every start writes one more record for TensorBoard."""
    paths = (path for path in folder.rglob("*") if not path.name.startswith("events.out."))
    return {str(path.relative_to(folder)) for path in paths}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("method", METHODS)
def test_killed_trainings(method, tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "run"
    begun = time.monotonic()
    finish(start(method, whole))
    span = time.monotonic() - begun
    chosen, killed = random.Random(method), 0
    while killed < KILLS:
        process = start(method, folder, "--resume")
        killed += kill_somewhere(process, folder, chosen, span, between=killed % 2 == 0)
        for path in folder.glob("model_*.pth"):
            read_checkpoint(path)  # a half-written file would raise
        if (folder / "model_final.pth").exists():  # it was quicker; begin anew
            for path in [*folder.glob("*.pth"), folder / "last_checkpoint"]:
                path.unlink()
    finish(start(method, folder, "--resume"))
    expected, found = (read_checkpoint(f / "model_final.pth") for f in (whole, folder))
    assert expected["model"].keys() == found["model"].keys()
    for name, tensor in expected["model"].items():
        assert torch.equal(tensor, found["model"][name]), name
    assert results(folder) == results(whole)
    assert names(folder) == names(whole)  # no halves of files, nothing that a killed one held
