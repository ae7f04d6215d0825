"""Work on Ray Data: blocks go to actors of this machine or of a cluster, and answers come back.

What a block and an answer are is the affair of ``ray_engine.py`` and ``ray_evaluation.py``. Nothing
is told to Ray's makers, and no file that is read is unpickled: what Ray pickles goes between the
processes of the run alone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError, explain
from ..files.extras import needed
from ..files.raster import LIMIT

logger = logging.getLogger(__name__)

TRIES = 2  # of a block whose process ended; Ray itself would start another without end
MARK = ".ovsuite.block-"  # begins the names of files that count the tries of a block
_STORE = 128 * 2**20  # bytes of Ray's memory: names go in, and what became of them comes out
_LONGEST = 25  # name of a folder in which Ray's sockets have names that systems allow


@dataclass(frozen=True)
class Resources:
    """What the actors of a run may use.

    Attributes:
        address: of a Ray cluster, as ``ray.init`` takes it; "" for this machine alone.
        workers: number of actors; None for as many as there is room for.
        cpus: of each; also the number of its threads.
        gpus: of each, such as 0.5; None for a whole one where there are GPUs.
    """

    address: str = ""
    workers: int | None = None
    cpus: float = 1.0
    gpus: float | None = None


@dataclass(frozen=True)
class Seat:
    """Where and how an actor works, as whoever starts it says.

    Attributes:
        place: the folder in which the run was started, as paths are relative to it.
        count: of the actors, at most.
        threads: for the model.
        pixels: the limit of ``raster.limit_pixels`` where the run was started; "" for none.
    """

    place: str
    count: int
    threads: int
    pixels: str = ""

    def take(self) -> None:
        """Bring this process there.

        Raises:
            UserError: if its machine does not see the folder.
        """
        import torch

        torch.set_num_threads(self.threads)
        if self.pixels:
            os.environ[LIMIT] = self.pixels
        try:
            os.chdir(self.place)
        except OSError as error:
            raise UserError(
                f"{self.place}: a machine of the cluster does not see this folder "
                f"({error.strerror}); start the run in a folder that all of them see"
            ) from error


def check_ray() -> None:
    """Refuse where Ray is not installed.

    Raises:
        UserError: with the command that installs it.
    """
    # Before it is loaded; Ray would tell its makers who uses it for what.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    needed("ray", "ray")
    needed("ray.data", "ray")


class Actor(ABC):
    """Begins once, and does block after block; what it cannot begin with is its answer to all.

    Args:
        work: what to do.
        seat: where.

    Attributes:
        folder: which all actors see, for ``may_try``; ``begin`` says it.
    """

    folder: Path

    def __init__(self, work: Any, seat: Seat) -> None:
        self._refusal = ""
        try:
            seat.take()
            self.begin(work, seat)
        except Exception as error:
            self._refusal = refusal_of(error)

    def __call__(self, row: Mapping[str, np.ndarray]) -> dict[str, list[str]]:
        """Do a block.

        Args:
            row: ``number`` and ``block``, the text of ``ask``.

        Returns:
            A row: ``number`` and ``answer``, as JSON.
        """
        return {"number": [str(row["number"][0])], "answer": [json.dumps(self._answer(row))]}

    def _answer(self, row: Mapping[str, np.ndarray]) -> dict[str, Any]:
        if self._refusal:
            return {"refusal": self._refusal}
        number, block = int(row["number"][0]), str(row["block"][0])
        mark = may_try(self.folder, number)
        if mark is None:
            return self.give_up(block)
        said = self.do(number, block)
        mark.unlink()
        return said

    @abstractmethod
    def begin(self, work: Any, seat: Seat) -> None:
        """Build what the blocks need."""

    @abstractmethod
    def do(self, number: int, block: str) -> dict[str, Any]:
        """Do a block and say what became of it; ``refusal`` ends the run with that line."""

    @abstractmethod
    def give_up(self, block: str) -> dict[str, Any]:
        """Say what becomes of a block whose process has ended too often."""


def ask(
    actor: type[Actor], work: object, blocks: Sequence[str], resources: Resources, device: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Hand blocks to actors, inside ``connected``.

    Args:
        actor: what does a block.
        work: what every actor is told.
        blocks: each as text.
        resources: what the actors may use.
        device: on which the model runs.

    Yields:
        Number and answer of each block, in the order in which they end; none of a block that Ray
        has lost.

    Raises:
        UserError: if no actor has room, or what an actor refuses.
    """
    import ray.data
    from ray.data import ActorPoolStrategy

    workers, gpus = room(resources, len(blocks), device)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # whoever asks sees what is missing
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    rows = [{"number": str(number), "block": block} for number, block in enumerate(blocks)]
    threads = max(1, int(resources.cpus))
    seat = Seat(os.getcwd(), workers, threads, os.environ.get(LIMIT, ""))
    done = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        actor, fn_constructor_args=(work, seat), batch_size=1, num_cpus=resources.cpus,
        num_gpus=gpus, compute=ActorPoolStrategy(size=workers),
    )  # fmt: skip
    for row in done.iter_rows():
        said = json.loads(row["answer"])
        if "refusal" in said:
            raise UserError(said["refusal"])
        yield int(row["number"]), said


def may_try(folder: Path, number: int) -> Path | None:
    """Count one more try of a block.

    Args:
        folder: which all actors see.
        number: of the block.

    Returns:
        The file that counts, to be removed when the block is done; None if too many tries have
        ended with their process.
    """
    mark = folder / f"{MARK}{number}"
    if mark.exists() and mark.stat().st_size >= TRIES:
        return None
    with open(mark, "ab") as file:
        file.write(b"*")
    return mark


def forget_tries(folder: Path) -> None:
    """Remove what a killed run has counted; whoever starts a run holds the folder."""
    for mark in folder.glob(f"{MARK}*"):
        mark.unlink()


def refusal_of(error: Exception) -> str:
    """The line for whoever started the run; the traceback goes to Ray's files."""
    logger.error("an actor fails", exc_info=error)
    return explain(error) or f"{type(error).__name__}: {error}"


def room(resources: Resources, blocks: int, device: str) -> tuple[int, float]:
    """How many actors there are, and the GPUs of each.

    Raises:
        UserError: if the machine has no room for them; a cluster may still grow.
    """
    import ray

    there = ray.cluster_resources()
    cpus, gpus = there.get("CPU", 0.0), there.get("GPU", 0.0)
    each = float(gpus > 0 and device != "cpu") if resources.gpus is None else resources.gpus
    fitting = int(cpus // resources.cpus)
    fitting = min(fitting, int(gpus / each + 1e-6)) if each else fitting
    wanted = resources.workers or max(1, fitting)
    if wanted > fitting and not resources.address:
        raise UserError(
            f"{wanted} workers with {resources.cpus:g} CPUs and {each:g} GPUs each do not fit this "
            f"machine with {cpus:g} CPUs and {gpus:g} GPUs; change --workers, --cpus-per-worker or "
            "--gpus-per-worker"
        )
    return min(wanted, max(1, blocks)), each


@contextlib.contextmanager
def connected(address: str) -> Iterator[None]:
    """Start Ray on this machine, or join a cluster; a Ray that the caller has started is taken.

    Raises:
        UserError: if Ray is not installed or does not answer.
    """
    check_ray()
    import ray

    # Ray gives its processes way to all others, so that on a busy machine they hardly begin.
    os.environ.setdefault("RAY_worker_niceness", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    place = "/tmp" if len(tempfile.gettempdir()) > _LONGEST else None
    with tempfile.TemporaryDirectory("", "ovs-ray-", place, ignore_cleanup_errors=True) as files:
        here = {"include_dashboard": False, "object_store_memory": _STORE, "_temp_dir": files}
        try:
            ray.init(**quiet, **({"address": address} if address else here))
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            where = f"--ray-address {address}" if address else "Ray"
            raise UserError(f"{where}: does not start ({' '.join(str(error).split())})") from error
        try:
            yield
        finally:
            ray.shutdown()
