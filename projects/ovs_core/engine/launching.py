"""Starting the processes of a run: alone, by Detectron2, by torchrun, or by SLURM."""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from detectron2.engine import launch
from detectron2.utils import comm

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


def run_distributed(main: Callable[[Namespace], Any], args: Namespace) -> Any:
    """Run ``main(args)`` in every process of the run.

    Args:
        main: what to run.
        args: with Detectron2's flags of processes: ``num_gpus``, ``num_machines``,
            ``machine_rank``, ``dist_url``.

    Returns:
        The result of ``main`` where it ran in this process, else None.

    Raises:
        UserError: if more GPUs are asked for than this machine has.
    """
    place = find_place(os.environ)
    if place is not None:
        _join(place)
        try:
            return main(args)
        finally:
            dist.destroy_process_group()
    if torch.cuda.is_available() and args.num_gpus > torch.cuda.device_count():
        raise UserError(
            f"--num-gpus {args.num_gpus}: this machine has {torch.cuda.device_count()} GPU(s)"
        )
    if args.num_gpus * args.num_machines == 1:
        return main(args)
    return launch(
        main, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, args=(args,)
    )


def find_place(environment: Mapping[str, str]) -> Place | None:
    """Read the variables that torchrun or SLURM set.

    Args:
        environment: environment variables.

    Returns:
        The place, or None if neither started this process, or it is the only one.

    Raises:
        UserError: if the variables are incomplete.
    """
    if "TORCHELASTIC_RUN_ID" in environment or {"RANK", "WORLD_SIZE"} <= environment.keys():
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        defaults = {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": environment.get("WORLD_SIZE", "1")}
    elif "SLURM_NTASKS" in environment and "SLURM_PROCID" in environment:
        names = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE")
        defaults = {"SLURM_LOCALID": "0", "SLURM_NTASKS_PER_NODE": environment["SLURM_NTASKS"]}
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
    address = environment.get("MASTER_ADDR") or _first_host(environment.get("SLURM_NODELIST", ""))
    port = int(environment.get("MASTER_PORT", 29500))
    return Place(rank, world, local_rank, min(local_world, world), address, port)


def _first_host(nodes: str) -> str:
    """Name the first host of a SLURM list such as ``gpu[03-05,9]`` or ``a,b``."""
    if not nodes:
        return "127.0.0.1"
    match = re.match(r"([^\[,]+)(?:\[([^\],-]+))?", nodes)
    return match[1] + (match[2] or "") if match else nodes


def _join(place: Place) -> None:
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(place.local_rank)
    dist.init_process_group(
        "nccl" if on_gpu else "gloo",
        init_method=f"tcp://{place.address}:{place.port}"
        if "TORCHELASTIC_RUN_ID" not in os.environ
        else "env://",
        rank=place.rank,
        world_size=place.world,
    )
    comm.create_local_process_group(place.local_world)
