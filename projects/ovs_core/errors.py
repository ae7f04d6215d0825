"""The one error type that is meant for the person in front of the screen."""

from __future__ import annotations

import errno
import re
import traceback
from collections.abc import Iterable

_ELSEWHERE = "name a folder on another disk"
_MENDS = {
    errno.ENOSPC: f"make room, or {_ELSEWHERE}",
    errno.EDQUOT: f"make room, or {_ELSEWHERE}",
    errno.EFBIG: _ELSEWHERE,
    errno.EROFS: _ELSEWHERE,
    errno.EIO: f"check the disk or the network, or {_ELSEWHERE}",
    errno.EACCES: "name a file or folder of yours",
    errno.EPERM: "name a file or folder of yours",
    errno.ENAMETOOLONG: "shorten the name",
    errno.ENOENT: "check the name; was the file moved or deleted meanwhile?",
    errno.ENOTDIR: "check the name; a part of it is a file",
    errno.EISDIR: "name a file",
    errno.EMFILE: "`ulimit -n 8192` allows more, a smaller DATALOADER.NUM_WORKERS needs fewer",
}
_FREED = "use fewer or smaller pictures at a time, a smaller model, or another --device"
_KILLED = re.compile(  # the last two: as gloo and NCCL tell the other processes of a run
    r"killed by signal|terminated abruptly|exited unexpectedly|terminated with signal"
    r"|gloo.*Connection closed by peer|remote process exiting prematurely"
)
# What reading from a process that reads pictures ends in, if it was killed while it handed one on.
_CUT = (EOFError, ConnectionResetError, ConnectionRefusedError)
# What would end a line, colour a terminal, turn the reading direction, or is no character.
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# How PyTorch hands on what a process that reads pictures met.
_WORKER = re.compile(r"Caught \w+ in DataLoader worker process.*\n[\w.]+: (.*)", re.S)


class UserError(Exception):
    """A mistake that the person can mend.

    The message names the file or key, says what was expected and what came, and gives the mend.
    Commands print it as one line without a traceback; library callers may catch it. What a file or
    a person gave cannot break that line: control characters stand in it as Python writes them.

    Args:
        lines: the message; further ones stand below it, such as the places that were looked at.
    """

    def __init__(self, *lines: object) -> None:
        super().__init__(*lines)

    def __str__(self) -> str:
        return "\n".join(_shown(str(line)) for line in self.args)


def nearest(name: str, choices: Iterable[str]) -> str:
    """Give a "did you mean" clause for a misspelt name.

    Args:
        name: what was typed.
        choices: the valid names.

    Returns:
        ``" Did you mean 'x'?"`` for the closest choice, or ``""`` if nothing is close.
    """
    import difflib  # a message needs it, a command that goes well does not

    close = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


def check_choice(key: str, value: object, choices: Iterable[object]) -> None:
    """Refuse a value that is none of the choices.

    Args:
        key: config key, option or argument that the value was given for.
        value: what was given.
        choices: the valid values.

    Raises:
        UserError: names the key, the value, the nearest choice and all choices.
    """
    known = list(choices)
    if value not in known:
        names = [str(choice) for choice in known]
        raise UserError(
            f"{key}: '{value}' is unknown.{nearest(str(value), names)} Choices: {', '.join(names)}"
        )


def innermost(error: BaseException) -> str:
    """Give the first line of the error that caused the others."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def explain(error: BaseException) -> str:
    """Say in one line what went wrong, and how to mend what the machine did.

    Args:
        error: whatever ended a command.

    Returns:
        The message of a ``UserError`` as it is; file, reason and mend if disk, memory or the end of
        a process is the cause; "" for what only its trace explains.
    """
    text = str(error)
    if found := _WORKER.search(BaseException.__str__(error)):
        return _shown(" ".join(found[1].split()))
    if isinstance(error, UserError):
        return text
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"the memory is full; {_FREED}"
    if _KILLED.search(text) or (isinstance(error, _CUT) and _between_processes(error)):
        return f"a process of this run was killed, maybe for want of memory; {_FREED}"
    if isinstance(error, FloatingPointError):
        return f"{text.splitlines()[0]}; lower SOLVER.BASE_LR, or check the labels"
    if isinstance(error, OSError) and error.errno in _MENDS:
        file = error.filename2 or error.filename
        place = "" if file is None else f"{file}: "
        return f"{place}{error.strerror}; {_MENDS[error.errno]}"
    return ""


def _between_processes(error: BaseException) -> bool:
    """Whether an error comes from talking to another process, not from a file that ends early."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_globals.get("__name__") == "multiprocessing.connection" for frame in frames)


def _shown(text: str) -> str:
    return _UNSHOWN.sub(lambda found: ascii(found[0])[1:-1], text)
