"""torchrun, SLURM and Detectron2's launcher start the same run."""

import json
import os
import socket

import pytest
import torch
import torch.multiprocessing as mp

from ovs_core.commands import main
from ovs_core.modeling.checkpoint import read_checkpoint

PROCESSES = 2


def torchrun(rank, port):
    """What torchrun sets for a process."""
    counts = {"RANK": rank, "WORLD_SIZE": PROCESSES, "LOCAL_RANK": rank}
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {**counts, "LOCAL_WORLD_SIZE": PROCESSES, **address}


def slurm(rank, port):
    """What srun sets for a process."""
    return {"SLURM_PROCID": rank, "SLURM_NTASKS": PROCESSES, "SLURM_LOCALID": rank,
            "SLURM_TASKS_PER_NODE": PROCESSES, "SLURM_JOB_NODELIST": "localhost",
            "MASTER_PORT": port}  # fmt: skip


def process(rank, variables, port, line):
    torch.set_num_threads(1)
    os.environ |= {name: str(value) for name, value in variables(rank, port).items()}
    assert main(line) == 0


def losses(folder):
    lines = (folder / "metrics.json").read_text().splitlines()
    return [json.loads(line)["total_loss"] for line in lines]


@pytest.mark.parametrize("variables", [torchrun, slurm])
def test_the_same_losses_and_weights(world, tmp_path, forking, variables):
    line = ["train", "--config-file", str(world / "toy.yaml"), "--device", "cpu"]
    line += ["DATASETS.TEST", "()", "SOLVER.MAX_ITER", "4", "OUTPUT_DIR"]
    assert main([*line, str(tmp_path / "own"), "--num-gpus", str(PROCESSES)]) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (variables, port, [*line, str(tmp_path / "other")])
    mp.start_processes(process, arguments, nprocs=PROCESSES)
    assert losses(tmp_path / "own") == losses(tmp_path / "other") != []
    one, other = (read_checkpoint(tmp_path / n / "model_final.pth") for n in ("own", "other"))
    for name, tensor in one["model"].items():
        assert torch.equal(tensor, other["model"][name]), name
