"""Runs: what a pressed Segment sets going, told step by step, ended when the visitor says so."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from torch.nn.modules.module import register_module_forward_pre_hook

from .attempts import Attempt

logger = logging.getLogger(__name__)

WAITING = "waiting for its turn"


class Stopped(Exception):
    """The visitor wants no more of this run."""


class Run:
    """One pressed Segment. Written by the thread that works, read by the one that shows it.

    Attributes:
        token: by which the page names it.
        state: what is being done, for people.
        attempts: what the methods made so far.
        error: why nothing could be tried; empty if it could.
        stopped: whether the visitor ended it.
    """

    def __init__(self) -> None:
        self.token = secrets.token_hex(8)
        self.state = WAITING
        self.attempts: tuple[Attempt, ...] = ()
        self.error = ""
        self.stopped = False
        self._since = time.monotonic()
        self._news: SimpleQueue[bool] = SimpleQueue()  # whether it is over

    @property
    def seconds(self) -> float:
        """How long the state has lasted."""
        return time.monotonic() - self._since

    def enter(self, state: str) -> None:
        """Tell what is done next.

        Raises:
            Stopped: if the visitor wants no more.
        """
        self.check()
        self.state, self._since = state, time.monotonic()
        self._news.put(False)

    def add(self, attempt: Attempt) -> None:
        """Tell what a method made.

        Raises:
            Stopped: if the visitor wants no more.
        """
        self.check()
        self.attempts += (attempt,)
        self._news.put(False)

    def check(self) -> None:
        """Go on only if somebody wants it.

        Raises:
            Stopped: if the visitor wants no more.
        """
        if self.stopped:
            raise Stopped

    def stop(self) -> None:
        """Want no more; whoever shows this run learns of it at once."""
        self.stopped = True
        self._news.put(True)

    def end(self) -> None:
        """Tell that all is done."""
        self._news.put(True)

    def __iter__(self) -> Iterator[None]:
        """Give a turn each time that there is something new to show; ends with the run."""
        is_over = False
        while not is_over:
            is_over = self._news.get()
            yield

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """End what a model computes in this thread at its next layer when the run is stopped.

        The hook is torch's for all modules: one on the modules themselves would make some of them
        take another path, with other roundings.
        """
        here = threading.get_ident()

        def check(module: object, inputs: object) -> None:
            if threading.get_ident() == here:
                self.check()

        handle = register_module_forward_pre_hook(check)
        try:
            yield
        finally:
            handle.remove()


class Runs:
    """The runs of all tabs: worked off one after the other, in the order in which they came."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "ovsuite-run")
        self._open: dict[str, tuple[str, Run]] = {}  # tab and run by the run's token
        self._lock = threading.Lock()

    @contextmanager
    def start(self, tab: str, work: Callable[[Run], None]) -> Iterator[Run]:
        """Set a run going; it is stopped when the caller leaves.

        Args:
            tab: the open page.
            work: called in another thread, when its turn comes.
        """
        run = Run()
        with self._lock:
            self._open[run.token] = tab, run
        turn = self._pool.submit(self._work, run, work)
        try:
            yield run
        finally:
            run.stop()
            turn.cancel()
            with self._lock:
                del self._open[run.token]

    def stop(self, tab: str, token: object) -> None:
        """Stop a run, if it is one of this tab."""
        with self._lock:
            owner, run = self._open.get(str(token), ("", None))
        if run is not None and owner == tab:
            run.stop()

    def close(self) -> None:
        """Stop all; none can be started any more."""
        with self._lock:
            for _, run in self._open.values():
                run.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _work(self, run: Run, work: Callable[[Run], Any]) -> None:
        try:
            run.check()
            work(run)
        except Stopped:
            logger.debug("run %s was stopped", run.token)
        except Exception:  # the trace belongs to the terminal, not to the visitor
            logger.exception("a run failed")
            run.error = "failed; the terminal shows where"
        finally:
            run.end()
