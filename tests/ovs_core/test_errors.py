"""What ends a command is one line, whoever is at fault."""

import errno
import multiprocessing.connection
import os
import pickle
import re
import socket
from concurrent.futures.process import BrokenProcessPool

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from ovs_core.commands import guarded
from ovs_core.errors import UserError, explain


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a/b.pth"), "a/b.pth: No space .*room"),
        (OSError(errno.EACCES, "Permission denied", "a"), "a: Permission denied; name a file"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "aaa"), "aaa: .*shorten the name"),
        (OSError(errno.ENOENT, "No such file or directory", "a"), "a: No such file .*moved"),
        (OSError(errno.EMFILE, "Too many open files"), "^Too many open files; `ulimit"),
        (
            OSError(errno.EXDEV, "Invalid cross-device link", "part", None, "a"),
            "OSError: .*verb",
        ),
        (MemoryError(), "the memory is full; use fewer"),
        (torch.OutOfMemoryError("CUDA out of memory.\nTried"), "the memory is full; use fewer"),
        (
            FloatingPointError("Loss became NaN at iteration=5!\nloss_dict = {}"),
            "=5!; lower",
        ),
        (BrokenProcessPool("A process was terminated abruptly while"), "process of this run was k"),
        (RuntimeError("DataLoader worker (pid 5) is killed by signal: Killed. "), "was killed"),
        (
            RuntimeError("[x/gloo/transport/tcp/pair.cc:561] Connection closed by peer [::1]:4"),
            "a process of this run was k",
        ),
        (EOFError("Compressed file ended"), "^EOFError: Compressed file ended .--verbose"),
        (ValueError("two\nlines"), r"^ValueError: two lines \(--verbose shows where\)$"),
        (UserError("as it is"), "^as it is$"),
        (UserError("a\nb\x1b[2J\u2028\u202e\ud800é"), r"^a\\nb\\x1b\[2J\\u2028\\u202e\\ud800é$"),
    ],
)
def test_one_line(capsys, error, line):
    def fail():
        raise error

    assert guarded(fail) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: ") and shown.count("\n") == 1
    assert re.search(line, shown.removeprefix("error: ").strip())


def gone(tmp_path):
    """Errors of talking to a process that is not there any more: in the middle, and at first."""
    here, there = multiprocessing.Pipe()
    there.close()
    with pytest.raises(EOFError) as ended:
        here.recv()
    address = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
    with pytest.raises(ConnectionRefusedError) as refused:
        multiprocessing.connection.Client(address)
    return ended.value, refused.value


def test_a_process_that_is_gone(tmp_path):
    for error in gone(tmp_path):
        assert explain(error).startswith("a process of this run was killed")


def test_lines_below_a_message_stay_lines_and_travel_between_processes():
    error = pickle.loads(pickle.dumps(UserError("nothing there. Looked for:", "  a\nb", "Mend: c")))
    assert str(error) == "nothing there. Looked for:\n  a\\nb\nMend: c" == explain(error)


class Broken(Dataset):
    """Fails as the reader of a broken picture does, or as a lost disk."""

    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise self.error


@pytest.mark.parametrize("error", [UserError("a.png: no picture"), OSError(5, "broken", "a.png")])
def test_what_a_process_that_reads_pictures_met(error):
    with pytest.raises((UserError, OSError)) as caught:
        next(iter(DataLoader(Broken(error), num_workers=1)))
    said = explain(caught.value)
    assert "a.png" in said and "Traceback" not in said and "\n" not in said


def test_a_process_that_is_killed():
    class Killed(Broken):
        def __getitem__(self, index):
            os.kill(os.getpid(), 9)

    with pytest.raises(RuntimeError) as caught:
        next(iter(DataLoader(Killed(None), num_workers=1)))
    assert explain(caught.value).startswith("a process of this run was killed")


def test_verbose_shows_the_trace(capsys):
    def fail():
        raise OSError(errno.ENOSPC, "No space left on device", "a")

    assert guarded(fail, verbose=True) == 1
    shown = capsys.readouterr().err
    assert "in fail" in shown
    assert shown.strip().endswith("error: a: No space left on device; make room, or name a folder "
                                  "on another disk")  # fmt: skip
