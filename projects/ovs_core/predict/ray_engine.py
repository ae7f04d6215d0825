"""Many pictures on Ray Data: blocks of them go to actors, each of which builds the model once.

An actor does with its block what ``segment_files`` does with all pictures, and writes the results
itself; to whoever started it goes what became of them. So a block is as whole as its files, and a
run that was killed goes on by the records of its results. Results, names and messages are those of
one process. Nothing is told to Ray's makers, and no file that is read is unpickled: what Ray
pickles goes between the processes of the run alone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError, explain
from ..files.addresses import to_place
from ..files.extras import needed
from ..files.locks import hold_free_shard
from ..files.raster import LIMIT
from ..files.writing import remove_unfinished
from ..words.vocabulary import Vocabulary
from .folder import FULL, Tally, segment_files
from .reading import Named, read_named
from .row_files import RowFile, block_file, remove_later_blocks
from .run_file import PURPOSE
from .stream import failure_line

logger = logging.getLogger(__name__)

_TRIES = 2  # of a block whose process ended; Ray itself would start another without end
_ENDED = f"the process that segmented them ended {_TRIES} times (for want of memory, maybe)"
_UNANSWERED = "Ray gave no answer (its logs say why)"
_MARK = ".ovsuite.block-"  # begins the names of files as long as a block was tried often
_STORE = 128 * 2**20  # bytes of Ray's memory: paths go in, and what became of them comes out
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
class Work:
    """What every actor of a run is told.

    Attributes:
        method: see ``Predictor.from_config``, as are the next four.
        weights: of the method.
        device: that it runs on.
        options: further KEY VALUE overrides.
        rules: what it takes of ``Rules``, by name.
        vocabulary: the words.
        folder: of the results, held by whoever starts the actors; every machine sees it.
        every: only each n-th frame of a video.
        overwrite: see ``segment_files``.
        batch: see ``segment_files``.
        rows: write a Parquet file per block, see ``RowFile``, in place of files per picture.
    """

    method: str | Path
    vocabulary: Vocabulary
    folder: Path
    weights: str = ""
    device: str = "auto"
    options: Sequence[object] = ()
    rules: Mapping[str, Any] = field(default_factory=dict)
    every: int = 1
    overwrite: bool = False
    batch: int = 1
    rows: bool = False


def segment_on_ray(
    work: Work,
    files: Sequence[Named],
    resources: Resources,
    *,
    block: int = 64,
    total: int | None = None,
    tally: Tally | None = None,
) -> Tally:
    """Segment pictures with the actors of a Ray cluster, or of this machine.

    Whatever goes wrong with a picture is noted, and so is a block whose process ended more than
    once; the rest goes on.

    Args:
        work: what is done with each.
        files: pictures, and videos, each of which is a block of its own.
        resources: what the actors may use.
        block: so many pictures go to an actor at a time.
        total: number of pictures, for the progress bar.
        tally: filled as the run goes on, for a caller that may be interrupted.

    Returns:
        The tally; its lines are in the order of the blocks.

    Raises:
        UserError: if Ray is not installed or does not answer, no actor has room, or none can build
            the model.
    """
    from tqdm import tqdm

    tally = Tally() if tally is None else tally
    blocks = list(_blocks(files, block))
    remove_unfinished(work.folder)
    for mark in work.folder.glob(f"{_MARK}*"):
        mark.unlink()
    failed: dict[int, list[str]] = {}
    with _connected(resources.address), tqdm(total=total, unit="picture", disable=None) as bar:
        try:
            for number, part in _run(work, blocks, resources):
                failed[number], part.failed = part.failed, []
                tally.add(part)
                bar.update(part.seen + len(failed[number]))
                if tally.stopped:
                    break
        finally:  # also where Ctrl-C ends it
            tally.failed += [line for number in sorted(failed) for line in failed[number]]
    if not tally.stopped:
        if work.rows:
            remove_later_blocks(work.folder, len(blocks))
        lost = [blocks[number] for number in range(len(blocks)) if number not in failed]
        tally.failed += [_lost_line(block, _UNANSWERED) for block in lost]
    return tally


def check_ray() -> None:
    """Refuse where Ray is not installed.

    Raises:
        UserError: with the command that installs it.
    """
    # Before it is loaded; Ray would tell its makers who uses it for what.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    needed("ray", "ray")
    needed("ray.data", "ray")


class Worker:
    """An actor: builds the model, and segments block after block.

    Args:
        work: what to do.
        place: the folder in which the run was started, as paths are relative to it.
        count: of the actors, at most.
        threads: for the model.
        pixels: the limit of ``raster.limit_pixels`` where the run was started; "" for none.
    """

    def __init__(self, work: Work, place: str, count: int, threads: int, pixels: str) -> None:
        self._work, self._refusal = work, ""
        self._held = contextlib.ExitStack()  # until the process ends
        try:
            self._begin(place, count, threads, pixels)
        except Exception as error:
            logger.exception("no model")  # to Ray's files; whoever started it gets a line
            self._refusal = explain(error) or f"{type(error).__name__}: {error}"

    def __call__(self, rows: Mapping[str, np.ndarray]) -> dict[str, list[str]]:
        """Segment a block.

        Args:
            rows: one row, see ``_row``.

        Returns:
            One row: ``number``, and ``tally`` or ``refusal`` as JSON.
        """
        if self._refusal:
            return _answer(rows, refusal=self._refusal)
        work = self._work
        named = [Named(to_place(path), stem) for path, stem in json.loads(str(rows["files"][0]))]
        mark = work.folder / f"{_MARK}{rows['number'][0]}"
        if not _may_try(mark):
            return _answer(rows, tally=vars(Tally(failed=[_lost_line(named, _ENDED)])))
        try:
            tally = self._segment(named, int(rows["number"][0]))
        except Exception as error:  # whatever it is, the other blocks are not to blame
            tally = Tally(failed=[failure_line(str(named[0].path), error)])
            if isinstance(error, OSError) and error.errno in FULL:
                tally.stopped = f"{work.folder}: {error.strerror}"
        mark.unlink()
        return _answer(rows, tally=vars(tally))

    def _segment(self, named: Sequence[Named], number: int) -> Tally:
        work = self._work
        store = RowFile(block_file(work.folder, number), work.overwrite) if work.rows else None
        tally = segment_files(
            self._predictor, work.vocabulary, read_named(named, work.every), work.folder,
            overwrite=work.overwrite, batch=work.batch, shared=[work.folder], store=store,
        )  # fmt: skip
        if store is not None:
            store.finish()
        return tally

    def _begin(self, place: str, count: int, threads: int, pixels: str) -> None:
        import torch

        from .predictor import Predictor

        torch.set_num_threads(threads)
        if pixels:
            os.environ[LIMIT] = pixels
        _enter(place)
        work = self._work
        if not work.folder.is_dir():
            raise UserError(f"{work.folder}: a machine of the cluster does not see this folder")
        self._held.enter_context(hold_free_shard(work.folder, PURPOSE, count))
        self._predictor = Predictor.from_config(
            work.method, weights=work.weights, device=work.device, options=work.options,
            **work.rules,
        )  # fmt: skip


def _may_try(mark: Path) -> bool:
    """Count one more try of a block, unless too many have ended with their process."""
    if mark.exists() and mark.stat().st_size >= _TRIES:
        return False
    with open(mark, "ab") as file:
        file.write(b"*")
    return True


def _enter(place: str) -> None:
    try:
        os.chdir(place)
    except OSError as error:
        raise UserError(
            f"{place}: a machine of the cluster does not see this folder ({error.strerror}); start "
            "the run in a folder that all of them see"
        ) from error


def _blocks(files: Sequence[Named], size: int) -> Iterator[list[Named]]:
    """Cut the files into parts that an actor does in one go."""
    block: list[Named] = []
    for one in files:
        if one.holds_many:
            yield [one]
            continue
        block.append(one)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block


def _run(
    work: Work, blocks: Sequence[Sequence[Named]], resources: Resources
) -> Iterator[tuple[int, Tally]]:
    """Give what became of each block, in the order in which they end."""
    import ray.data
    from ray.data import ActorPoolStrategy

    workers, gpus = _room(resources, len(blocks), work.device)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # noted as lost
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    rows = [_row(number, block) for number, block in enumerate(blocks)]
    threads = max(1, int(resources.cpus))
    told = (work, os.getcwd(), workers, threads, os.environ.get(LIMIT, ""))
    done = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        Worker, fn_constructor_args=told, batch_size=1, num_cpus=resources.cpus, num_gpus=gpus,
        compute=ActorPoolStrategy(size=workers),
    )  # fmt: skip
    for row in done.iter_rows():
        answer = json.loads(row["answer"])
        if "refusal" in answer:
            raise UserError(answer["refusal"])
        stated = answer["tally"]
        yield int(row["number"]), Tally(**{**stated, "anew": Counter(stated["anew"])})


def _row(number: int, block: Sequence[Named]) -> dict[str, str]:
    return {"number": str(number), "files": json.dumps([[str(o.path), o.stem] for o in block])}


def _answer(rows: Mapping[str, np.ndarray], **what: object) -> dict[str, list[str]]:
    return {"number": [str(rows["number"][0])], "answer": [json.dumps(what)]}


def _room(resources: Resources, blocks: int, device: str) -> tuple[int, float]:
    """How many actors there are, and the GPUs of each.

    Raises:
        UserError: if the machine has no room for them; a cluster may still grow.
    """
    import ray

    there = ray.cluster_resources()
    cpus, gpus = there.get("CPU", 0.0), there.get("GPU", 0.0)
    each = float(gpus > 0 and device != "cpu") if resources.gpus is None else resources.gpus
    room = int(cpus // resources.cpus)
    room = min(room, int(gpus / each + 1e-6)) if each else room
    wanted = resources.workers or max(1, room)
    if wanted > room and not resources.address:
        raise UserError(
            f"{wanted} workers with {resources.cpus:g} CPUs and {each:g} GPUs each do not fit this "
            f"machine with {cpus:g} CPUs and {gpus:g} GPUs; change --workers, --cpus-per-worker or "
            "--gpus-per-worker"
        )
    return min(wanted, max(1, blocks)), each


def _lost_line(block: Sequence[Named], why: str) -> str:
    more = f" and {len(block) - 1} more" if len(block) > 1 else ""
    return (
        f"{block[0].path}{more}: {why}. What is finished of them is kept; give the same line "
        "again, with a smaller --block to find the picture"
    )


@contextlib.contextmanager
def _connected(address: str) -> Iterator[None]:
    """Start Ray on this machine, or join a cluster; a Ray that the caller has started is taken."""
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
