"""Memory and disk of the real command while visitors send picture after picture."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow
PICTURES, VISITORS = 150, 6
ALLOWED = 300  # megabytes above what the page has after the first picture


def resident(process):
    """Megabytes of memory that a process holds."""
    listed = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(process.pid)], capture_output=True, text=True, check=True
    )
    return int(listed.stdout) / 1024


@pytest.fixture
def running(tmp_path):
    """The command, with one method of the embedded world, and its folder of files."""
    pytest.importorskip("gradio", reason="gradio is not installed: pip install -e '.[web]'")
    command = [sys.executable, "-m", "ovs_core", "web", "--port", "7890",
               "--methods", "cliptrase/tiny"]  # fmt: skip
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment
    )
    address = process.stdout.readline().split()[0]
    yield SimpleNamespace(address=address, process=process, folder=tmp_path)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert not list(tmp_path.glob("ovsuite_web_*"))


def pictures():
    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        size = (320 + 8 * (number % 20), 240)
        yield Image.fromarray(rng.integers(0, 255, (12, 16, 3), np.uint8)).resize(size)


def test_many_pictures_leave_little_behind(running, tmp_path, page_visit):
    visits = [page_visit(running) for _ in range(VISITORS)]
    started = None
    for number, picture in enumerate(pictures()):
        picture.save(tmp_path / "picture.png")
        visit = visits[number % VISITORS]
        ticket = visit.upload((tmp_path / "picture.png").read_bytes())
        message, _ = visit.segment({"path": ticket}, methods=["cliptrase/tiny"])
        assert message == ""
        if number % 10 == 0:
            assert visit.download()[1] is not None
        started = started or resident(running.process)
    grown = resident(running.process) - started
    kept = sum(path.stat().st_size for path in running.folder.rglob("*") if path.is_file()) / 2**20
    print(f"{grown:.0f} MB more memory, {kept:.0f} MB of files after {PICTURES} pictures")
    assert grown < ALLOWED and kept < 200 * VISITORS
