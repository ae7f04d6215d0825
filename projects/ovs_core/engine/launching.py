"""Starting the processes of a run: alone, by Detectron2, by torchrun, or by SLURM."""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
import traceback
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from detectron2.engine import launch
from detectron2.utils import comm
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from ..errors import UserError, explain
from ..files.writing import write_json
from .place import Place, find_place
from .stopping import handing_on_signals

_PATIENCE = 2.0  # seconds in which the process that failed first says why


def run_distributed(
    main: Callable[[Namespace], Any],
    args: Namespace,
    *,
    check: Callable[[Namespace], None] | None = None,
    on_cpu: bool = False,
) -> Any:
    """Run ``main(args)`` in every process of the run.

    Args:
        main: what to run.
        args: with Detectron2's flags of processes: ``num_gpus``, ``num_machines``,
            ``machine_rank``, ``dist_url``.
        check: what this process verifies before it starts others; it may add to ``args``.
        on_cpu: the processes use no GPU, and may be as many as one likes.

    Returns:
        The result of ``main`` where it ran in this process, else None.

    Raises:
        UserError: if more GPUs are asked for than this machine has, or what one of the processes
            that were started here failed of.
    """
    place = find_place(os.environ)
    if place is not None:
        store = _join(place, on_cpu=on_cpu)
        try:
            return main(args)
        except Exception as error:
            if _fails_first(store):
                raise
            time.sleep(_PATIENCE)  # the launcher ends all when one ends
            raise SystemExit(1) from error
        finally:
            dist.destroy_process_group()
    if not on_cpu:
        _check_gpus(args.num_gpus)
    if args.num_gpus * args.num_machines == 1:
        return main(args)
    if check is not None:
        check(args)
    # Which of the others it ends when one has failed is nothing to tell.
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder, _hidden_gpus(on_cpu), handing_on_signals():
        told = _Telling(main, folder)
        try:
            return launch(
                told, args.num_gpus, args.num_machines, args.machine_rank, args.dist_url, (args,)
            )
        except (ProcessExitedException, ProcessRaisedException) as error:
            told.tell(error)


def _check_gpus(asked: int) -> None:
    have = torch.cuda.device_count()
    if asked > max(have, 1):
        raise UserError(
            f"--num-gpus {asked}: this machine has {have} GPU(s); use --num-gpus {max(have, 1)}, "
            f"or --device cpu --num-gpus {asked} for {asked} processes on the CPU"
        )


@contextmanager
def _hidden_gpus(hide: bool) -> Iterator[None]:
    """Start processes that see no GPU, so that Detectron2 lets them talk through gloo."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hide:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        yield
    finally:
        if before is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = before
        elif hide:
            del os.environ["CUDA_VISIBLE_DEVICES"]


@dataclass(frozen=True)
class _Telling:
    """Runs in a process of its own; what it fails of is told by the process that started it.

    Attributes:
        main: what to run.
        folder: where each process leaves what it failed of.
    """

    main: Callable[[Namespace], Any]
    folder: str

    def __call__(self, args: Namespace) -> None:
        try:
            self.main(args)
        except Exception as error:
            if not (message := explain(error)):
                raise
            left = [message, traceback.format_exc()]
            write_json(Path(self.folder) / f"{comm.get_rank():05d}", left)
            sys.exit(1)

    def tell(self, error: Exception) -> NoReturn:
        """Raise what ended the processes: the first of what they left, else how they ended."""
        for path in sorted(Path(self.folder).iterdir()):
            message, trace = json.loads(path.read_text(encoding="utf-8"))
            raise UserError(*message.splitlines()) from RuntimeError(trace)
        code = getattr(error, "exit_code", 0)
        if code > 0:  # one left by `sys.exit`, and has said why
            raise SystemExit(code) from error
        raise error


def _join(place: Place, *, on_cpu: bool = False) -> dist.Store:
    """Join the processes of a run; gives the store that they share."""
    on_gpu = torch.cuda.is_available() and not on_cpu
    if on_gpu:
        torch.cuda.set_device(_own_gpu(place.local_rank))
    elastic = "TORCHELASTIC_RUN_ID" in os.environ
    address = "env://" if elastic else f"tcp://{place.address}:{place.port}"
    store: dist.Store
    store, rank, world = next(dist.rendezvous(address, place.rank, place.world))
    dist.init_process_group("nccl" if on_gpu else "gloo", store=store, rank=rank, world_size=world)
    comm.create_local_process_group(place.local_world)
    return store


def _own_gpu(local_rank: int) -> int:
    """Number of this process's GPU among those that it sees; SLURM may show each its own alone."""
    have = torch.cuda.device_count()
    if have > 1 and local_rank >= have:
        raise UserError(
            f"process {local_rank} of this machine has no GPU, there are {have}; start {have} "
            "processes for each machine, or add --device cpu"
        )
    return 0 if have == 1 else local_rank


def _fails_first(store: dist.Store) -> bool:
    """Whether no other process of the run has failed before; the others fail of its loss."""
    try:
        return int(store.add("ovsuite_failed", 1)) == 1
    except RuntimeError:  # the process that keeps the store is gone, maybe without a word
        return True
