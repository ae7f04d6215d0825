"""Work that is spread over processes, or done one by one where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Protocol, TypeVar

import torch

from ..errors import UserError

Item = TypeVar("Item")
Found = TypeVar("Found")


class Each(Protocol):
    """``map``, or what does its work in other processes."""

    def __call__(self, work: Callable[[Item], Found], items: Iterable[Item], /) -> Iterator[Found]:
        """Give what becomes of each item, in their order."""


@contextmanager
def workers(processes: int) -> Iterator[Each]:
    """Start processes that share the threads of this one.

    Args:
        processes: how many; 1 starts none.

    Yields:
        What goes through items as ``map`` does. Work and items are sent to the processes.

    Raises:
        UserError: if one of them was killed.
    """
    if processes == 1:
        yield map
        return
    threads = max(1, torch.get_num_threads() // processes)
    with ProcessPoolExecutor(
        processes, get_context("spawn"), torch.set_num_threads, (threads,)
    ) as pool:
        try:
            yield pool.map
        except BrokenProcessPool as error:
            raise UserError(
                "a process that measured rows was killed, most likely for memory; run one at a time"
            ) from error
