"""Where this process stands among all of a run, as torchrun or SLURM tell it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import UserError


@dataclass(frozen=True)
class Place:
    """Where this process stands among all processes of a run.

    Attributes:
        rank, world: number of this process and count of all.
        local_rank, local_world: the same on this machine.
        address, port: of the first process.
    """

    rank: int
    world: int
    local_rank: int
    local_world: int
    address: str
    port: int


def find_place(environment: Mapping[str, str]) -> Place | None:
    """Read the variables that torchrun or SLURM set.

    Args:
        environment: environment variables.

    Returns:
        The place, or None if neither started this process, or it is the only one.

    Raises:
        UserError: if the variables are incomplete, or machines have different counts of processes.
    """
    if "TORCHELASTIC_RUN_ID" in environment or {"RANK", "WORLD_SIZE"} <= environment.keys():
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        defaults = {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": environment.get("WORLD_SIZE", "1")}
    elif "SLURM_NTASKS" in environment and "SLURM_PROCID" in environment:
        names = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE")
        defaults = {"SLURM_LOCALID": "0", "SLURM_NTASKS_PER_NODE": _tasks_per_node(environment)}
    else:
        return None
    try:
        rank, world, local_rank, local_world = (
            int(environment.get(n, defaults.get(n, ""))) for n in names
        )
    except ValueError as error:
        raise UserError(f"the launcher set no usable {' / '.join(names)} ({error})") from error
    if world == 1:
        return None
    nodes = environment.get("SLURM_JOB_NODELIST") or environment.get("SLURM_NODELIST", "")
    address = environment.get("MASTER_ADDR") or first_host(nodes)
    port = int(environment.get("MASTER_PORT", 29500))
    return Place(rank, world, local_rank, min(local_world, world), address, port)


def first_host(nodes: str) -> str:
    """Name the first host of a SLURM list such as ``gpu[03-05,9]`` or ``a,b``; "" is this one."""
    if not nodes:
        return "127.0.0.1"
    match = re.match(r"([^\[,]+)(?:\[([^\],-]+))?", nodes)
    return match[1] + (match[2] or "") if match else nodes


def _tasks_per_node(environment: Mapping[str, str]) -> str:
    """Processes of each machine, where ``--ntasks-per-node`` has not stated them."""
    key = "SLURM_STEP_TASKS_PER_NODE"  # the whole job may have more machines than the run
    key = key if key in environment else "SLURM_TASKS_PER_NODE"
    stated = environment.get(key, environment["SLURM_NTASKS"])  # such as "4(x2)" or "4(x2),3"
    counts = set(re.sub(r"\(x\d+\)", "", stated).split(","))
    if len(counts) > 1:
        raise UserError(
            f"{key} is {stated}, but every machine must run as many processes of a training; start "
            "it with srun --ntasks-per-node"
        )
    return counts.pop()
