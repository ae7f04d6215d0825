"""One process at a time in a folder; a dead one holds nothing."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ovs_core.errors import UserError
from ovs_core.files.locks import HOLDER, hold_folder

HOLD = (
    "import sys, time\n"
    "from ovs_core.files.locks import hold_folder\n"
    "with hold_folder(sys.argv[1], 'a training'):\n"
    "    print('held', flush=True)\n"
    "    time.sleep(60)\n"
)


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_is_kept_out_and_told_by_whom(tmp_path, holder):
    with pytest.raises(UserError, match=f"a training of process {holder.pid} on .* is at work"):
        with hold_folder(tmp_path, "a training"):
            pass


def test_what_a_killed_process_held_can_be_taken(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with hold_folder(tmp_path, "a training"):
        assert str(os.getpid()) in (tmp_path / HOLDER).read_text()
    assert not (tmp_path / HOLDER).exists()


def test_the_same_process_may_come_back(tmp_path):
    for _ in range(2):
        with hold_folder(tmp_path / "new" / "folder", "a training"):
            pass


def test_it_is_let_go_after_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="in between"):
        with hold_folder(tmp_path, "a training"):
            raise RuntimeError("in between")
    with hold_folder(tmp_path, "a training"):
        pass


def test_of_many_that_start_at_once_one_runs(tmp_path):
    code = HOLD.replace("time.sleep(60)", "time.sleep(3)")
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    time.sleep(0.1)
    said = [process.communicate(timeout=60) for process in started]
    assert sum(out == "held\n" for out, _ in said) == 1
    assert sum("is at work here" in error for _, error in said) == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot write into"):
        with hold_folder(tmp_path / "x", "a training"):
            pass
