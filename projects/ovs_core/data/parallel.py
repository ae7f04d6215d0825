"""The same work on many files, in several processes, with a progress bar."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_processes(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int | None,
    unit: str,
    title: str = "",
) -> Iterator[Result]:
    """Do some work on every item.

    Args:
        work: picklable, as are the items and what it gives.
        items: what to work on.
        workers: processes; None for one per core, 1 to stay in this process.
        unit: what an item is called beside the bar.
        title: in front of the bar.

    Yields:
        What ``work`` gives, in the order of the items.
    """
    workers = workers or os.cpu_count() or 1
    with tqdm(total=len(items), desc=title or None, unit=unit, disable=None) as bar:
        if workers == 1:
            for item in items:
                yield work(item)
                bar.update()
            return
        chunk = max(1, min(32, len(items) // (4 * workers)))
        with ProcessPoolExecutor(workers) as pool:
            for result in pool.map(work, items, chunksize=chunk):
                yield result
                bar.update()
