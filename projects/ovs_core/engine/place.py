"""Where this process stands among all of a run, as torchrun or SLURM tell it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import UserError
from ..files.shards import Shard


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


def find_shard(environment: Mapping[str, str]) -> Shard:
    """Which part of a work is this process's: of a SLURM array, torchrun or srun, or of both.

    Args:
        environment: environment variables.

    Raises:
        UserError: if none of them started this process, or the numbers of the array have gaps.
    """
    place = find_place(environment)
    array = _array_shard(environment)
    if place is None and array is None:
        raise UserError(
            "--shard auto: no SLURM array, torchrun or srun started this process; give NUMBER/COUNT"
        )
    array = array or Shard(1, 1)
    if place is None:
        return array
    number = (array.number - 1) * place.world + place.rank + 1
    return Shard(number, array.count * place.world)


def own_device(environment: Mapping[str, str]) -> str:
    """Give each process of a machine a GPU: its device, or ``auto`` where there is none to choose.

    Args:
        environment: environment variables.
    """
    import torch  # the number of a shard is found without

    place, count = find_place(environment), torch.cuda.device_count()
    return f"cuda:{place.local_rank % count}" if place is not None and count > 1 else "auto"


def _array_shard(environment: Mapping[str, str]) -> Shard | None:
    if "SLURM_ARRAY_TASK_ID" not in environment:
        return None
    names = [f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "MIN", "MAX", "COUNT")]
    try:
        task, first, last, count = (int(environment[name]) for name in names)
    except (KeyError, ValueError) as error:
        raise UserError(f"SLURM set no usable {' / '.join(names)} ({error})") from error
    step, gap = divmod(last - first, max(count - 1, 1))
    number, off = divmod(task - first, max(step, 1))
    if gap or off or not 0 <= number < count:
        raise UserError(
            f"--shard auto: the numbers of the SLURM array, {count} from {first} to {last}, have "
            f"gaps, so that {task} is no shard; give NUMBER/COUNT"
        )
    return Shard(number + 1, count)


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
