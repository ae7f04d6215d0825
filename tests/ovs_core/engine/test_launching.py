import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ovs_core
from ovs_core.engine.launching import _own_gpu
from ovs_core.engine.place import Place, find_place, first_host
from ovs_core.errors import UserError


def test_torchrun():
    place = find_place(
        {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
         "MASTER_ADDR": "node0", "MASTER_PORT": "1234"}
    )  # fmt: skip
    assert place == Place(3, 4, 1, 2, "node0", 1234)


def test_slurm():
    place = find_place(
        {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1",
         "SLURM_NTASKS_PER_NODE": "4", "SLURM_NODELIST": "gpu[03-04]"}
    )  # fmt: skip
    assert place == Place(5, 8, 1, 4, "gpu03", 29500)


def test_slurm_of_today_names_the_nodes_of_the_job():
    place = find_place(
        {"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_JOB_NODELIST": "a[7-8]"}
    )  # fmt: skip
    assert place.address == "a7"


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_TASKS_PER_NODE": "4(x2)"},
        {"SLURM_TASKS_PER_NODE": "16(x3)", "SLURM_STEP_TASKS_PER_NODE": "4(x2)"},
        {"SLURM_TASKS_PER_NODE": "4,4"},
    ],
)
def test_slurm_without_a_stated_count_of_each_machine(variables):
    place = find_place(
        {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", **variables}
    )
    assert place.local_world == 4


def test_machines_of_slurm_that_run_different_counts():
    with pytest.raises(UserError, match=r"SLURM_TASKS_PER_NODE is 4\(x2\),3.*--ntasks-per-node"):
        find_place({"SLURM_PROCID": "5", "SLURM_NTASKS": "11", "SLURM_TASKS_PER_NODE": "4(x2),3"})


@pytest.mark.parametrize(("seen", "rank", "gpu"), [(8, 3, 3), (1, 3, 0)])
def test_the_gpu_of_a_process(monkeypatch, seen, rank, gpu):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    assert _own_gpu(rank) == gpu


def test_more_processes_than_gpus_of_a_machine(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="process 2 of this machine has no GPU, there are 2"):
        _own_gpu(2)


@pytest.mark.parametrize(
    ("nodes", "host"),
    [("gpu[03-05,9]", "gpu03"), ("a,b", "a"), ("node7", "node7"), ("", "127.0.0.1")],
)
def test_first_host(nodes, host):
    assert first_host(nodes) == host


def test_alone():
    assert find_place({}) is None
    assert find_place({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}) is None


def test_unusable_variables_are_named():
    with pytest.raises(UserError, match="WORLD_SIZE"):
        find_place({"RANK": "x", "WORLD_SIZE": "2"})


TRAIN_NET = Path(ovs_core.__file__).parents[2] / "train_net.py"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["SOLVER.BASE_LRR", "1"], "BASE_LRR"),  # all processes fail of it
        (["MODEL.WEIGHTS", "none.pth"], "none.pth: no such checkpoint"),  # the first one looks
    ],
)
def test_processes_of_a_launcher_say_once_why_they_end(tmp_path, options, line):
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         str(TRAIN_NET), "--config-file", "hclip/tiny", "MODEL.DEVICE", "cpu",
         "DATASETS.TEST", "()", "OUTPUT_DIR", str(tmp_path / "run"), *options],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    said = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    assert len(said) == 1 and line in said[0], done.stderr[-3000:]
    assert done.returncode != 0
