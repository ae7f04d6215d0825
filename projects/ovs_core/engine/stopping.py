"""Ending a training that a scheduler tells to end, so that it can go on where it was."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from detectron2.engine.train_loop import HookBase
from detectron2.utils import comm

# Of SLURM: at the time limit, and by `--signal=USR1@120`; submitit has it send USR2.
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class StopHook(HookBase):
    """Ends a training after its step, with a checkpoint and 128 + signal as exit code.

    All processes end after the same step, whichever was told. An evaluation is broken off: it
    changes nothing that is trained.
    """

    def __init__(self) -> None:
        self._told = 0
        self._at_once = False
        self._handling = _handling(self._note)

    def before_train(self) -> None:
        """Take the signals from here on."""
        self._handling.__enter__()

    def after_step(self) -> None:
        """End, if any process was told to; the last step ends by itself."""
        told = max(comm.all_gather(self._told))
        if told and self.trainer.iter + 1 < self.trainer.max_iter:
            self._save()
            comm.synchronize()  # the first process to end would have the others killed
            raise SystemExit(128 + told)

    def after_train(self) -> None:
        """Leave the signals to Python again."""
        self._handling.__exit__(None, None, None)

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        """End within the block at once; what is trained must not change in it."""
        self._at_once = True
        try:
            yield
        except _BrokenOff as error:
            self._save()
            raise SystemExit(128 + self._told) from error
        finally:
            self._at_once = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._told = number
        if self._at_once:
            self._at_once = False
            raise _BrokenOff

    def _save(self) -> None:
        done = self.trainer.iter + 1
        # In all processes: each may have a share of the weights.
        self.trainer.checkpointer.save(f"model_{done - 1:07d}", iteration=done - 1)
        if not comm.is_main_process():
            return
        name = signal.Signals(self._told).name if self._told else "a signal to another process"
        print(
            f"stopped by {name} after {done} of {self.trainer.max_iter} steps; go on with --resume",
            file=sys.stderr,
        )


class _BrokenOff(BaseException):
    """No ``Exception``, which evaluators may catch."""


@contextmanager
def handing_on_signals() -> Iterator[None]:
    """Tell the processes that this one has started what it is told itself, and wait for them."""

    def hand_on(number: int, frame: FrameType | None) -> None:
        for process in multiprocessing.active_children():
            if process.pid is not None:
                os.kill(process.pid, number)

    with _handling(hand_on):
        yield


def leave_signals_to_parent() -> None:
    """Let a process that reads pictures outlive the signals, which a scheduler sends to each.

    Its parent still needs a batch to end a step with; when it ends, it ends this process.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def wait() -> None:
        parent = os.getppid()
        while signal.sigwaitinfo(SIGNALS).si_pid != parent:
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle the signals inside the block; only a main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
