"""Many pictures on Ray Data: blocks of them go to actors, each of which builds the model once.

An actor does with its block what ``segment_files`` does with all pictures, and writes the results
itself; to whoever started it goes what became of them. So a block is as whole as its files, and a
run that was killed goes on by the records of its results. Results, names and messages are those of
one process.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files.addresses import to_place
from ..files.locks import hold_free_shard
from ..files.writing import remove_unfinished
from ..words.vocabulary import Vocabulary
from .folder import FULL, Tally, segment_files
from .ray_cluster import TRIES, Actor, Resources, Seat, ask, connected, forget_tries
from .reading import Named, read_named
from .row_files import RowFile, block_file, remove_later_blocks
from .run_file import PURPOSE
from .stream import failure_line

_ENDED = f"the process that segmented them ended {TRIES} times (for want of memory, maybe)"
_UNANSWERED = "Ray gave no answer (its logs say why)"


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
    forget_tries(work.folder)
    failed: dict[int, list[str]] = {}
    texts = [_block_text(one) for one in blocks]
    with connected(resources.address), tqdm(total=total, unit="picture", disable=None) as bar:
        try:
            for number, said in ask(Worker, work, texts, resources, work.device):
                stated = said["tally"]
                part = Tally(**{**stated, "anew": Counter(stated["anew"])})
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


class Worker(Actor):
    """Builds the model, and segments block after block: its answers are tallies."""

    def begin(self, work: Work, seat: Seat) -> None:
        """Hold a shard of the folder until the process ends, and build the model."""
        from .predictor import Predictor

        self._work, self.folder, self._held = work, work.folder, contextlib.ExitStack()
        if not work.folder.is_dir():
            raise UserError(f"{work.folder}: a machine of the cluster does not see this folder")
        self._held.enter_context(hold_free_shard(work.folder, PURPOSE, seat.count))
        self._predictor = Predictor.from_config(
            work.method, weights=work.weights, device=work.device, options=work.options,
            **work.rules,
        )  # fmt: skip

    def do(self, number: int, block: str) -> dict[str, Any]:
        """Segment a block."""
        named = _named(block)
        try:
            tally = self._segment(named, number)
        except Exception as error:  # whatever it is, the other blocks are not to blame
            tally = Tally(failed=[failure_line(str(named[0].path), error)])
            if isinstance(error, OSError) and error.errno in FULL:
                tally.stopped = f"{self.folder}: {error.strerror}"
        return {"tally": vars(tally)}

    def give_up(self, block: str) -> dict[str, Any]:
        """Count its pictures as failed."""
        return {"tally": vars(Tally(failed=[_lost_line(_named(block), _ENDED)]))}

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


def _block_text(block: Sequence[Named]) -> str:
    return json.dumps([[str(one.path), one.stem] for one in block])


def _named(text: str) -> list[Named]:
    return [Named(to_place(path), stem) for path, stem in json.loads(text)]


def _lost_line(block: Sequence[Named], why: str) -> str:
    more = f" and {len(block) - 1} more" if len(block) > 1 else ""
    return (
        f"{block[0].path}{more}: {why}. What is finished of them is kept; give the same line "
        "again, with a smaller --block to find the picture"
    )
