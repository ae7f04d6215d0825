"""A folder with bad pictures whose run is killed again and again, and started by the same line.

The tests are small ones; ``python tests/ovs_core/predict/test_killed_runs.py 300 30 10`` is the
same with as many pictures, bad ones and kills as it says, and ``... shards 10000 20 4 20`` with
four shards and twenty kills.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PARTS = ("labels.png", "overlay.png", "segments.json")


def draw_pictures(folder, count, bad):
    """Pictures of which some cannot be read; the stems of the good ones and the bad files."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        blobs = Image.fromarray(rng.integers(0, 255, (4, 6, 3), dtype=np.uint8))
        blobs.resize((96, 72), Image.Resampling.BICUBIC).save(folder / f"{number:03d}.png")
    files = sorted(folder.iterdir())
    broken = files[:: count // bad][:bad]
    for number, path in enumerate(broken):
        whole = path.read_bytes()
        path.write_bytes([b"", b"no picture", whole[: len(whole) // 2], whole[:30]][number % 4])
    return [path.stem for path in files if path not in broken], broken


def start(folder, out, *more, said=subprocess.PIPE):
    """The line, always the same but for ``more``, in a process of its own."""
    line = ["segment", "pictures", "--words", "car, sky, sand", "--device", "cpu"]
    line += ["--method", "cliptrase/tiny_maskclip", "--output", out, *more]
    environment = {**os.environ, "OVSUITE_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    return subprocess.Popen(
        [sys.executable, "-m", "ovs_core", *line], cwd=folder, env=environment, text=True,
        stdout=said, stderr=subprocess.PIPE,
    )  # fmt: skip


def kill_somewhere(folder, out, files, chance, *more):
    """Kill a run once it has written so many files and a moment more; whether it was at work."""
    running = start(folder, out, *more)
    before = set((folder / out).glob("*.png"))
    while running.poll() is None and len(set((folder / out).glob("*.png")) - before) < files:
        time.sleep(0.002)
    time.sleep(chance.random() * 0.05)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    return running.returncode == -signal.SIGKILL


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != "."}


def records(folder):
    """When each result was finished, by the name of its record."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*_segments.json")}


def check_killed_shards(folder, count, bad, shards, kills):
    """What shards leave that are killed at work, one after the other, is what one process leaves.

    Each is started again at once by its line.

    Returns:
        How many were killed at work, and how many results were written more than once.
    """
    good, _ = draw_pictures(folder / "pictures", count, bad)
    start(folder, "whole", said=subprocess.DEVNULL).communicate()
    names = [f"{number + 1}/{shards}" for number in range(shards)]

    def begin(name):
        return start(folder, "shared", "--shard", name, said=subprocess.DEVNULL)

    running = {name: begin(name) for name in names}
    out, before, killed, redone = folder / "shared", {}, 0, 0
    for turn in range(kills):
        wanted, victim = (turn + 1) * len(good) // (kills + 1), names[turn % shards]
        while len(now := records(out)) < wanted and running[victim].poll() is None:
            time.sleep(0.01)
        running[victim].send_signal(signal.SIGKILL)
        running[victim].communicate()
        killed += running[victim].returncode == -signal.SIGKILL
        redone += sum(now.get(name) != written for name, written in before.items())
        before, running[victim] = now, begin(victim)
    for one in running.values():
        one.communicate()
    redone += sum(records(out)[name] != written for name, written in before.items())
    found = contents(out)
    assert found.keys() == {f"{stem}_{part}" for stem in good for part in PARTS} | {"run.json"}
    assert found == contents(folder / "whole")
    assert not list(out.glob(".*.part*"))
    return killed, redone


def check_killed_runs(folder, count, bad, kills, seed=0):
    """What the last of many runs leaves is what a single undisturbed one leaves; how many died."""
    good, broken = draw_pictures(folder / "pictures", count, bad)
    whole = start(folder, "undisturbed")
    _, errors = whole.communicate()
    assert whole.returncode == 1, errors
    chance = random.Random(seed)
    most = max(1, count // kills)  # with two PNGs to a picture, half of them are left at the end
    killed = sum(
        kill_somewhere(folder, "killed", chance.randint(1, most), chance) for _ in range(kills)
    )
    last = start(folder, "killed")
    said, errors = last.communicate()
    lines = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert len(lines) == bad, errors
    for path, line in zip(broken, lines, strict=True):
        assert f"pictures/{path.name}: " in line
    expected = {f"{stem}_{part}" for stem in good for part in PARTS} | {"run.json"}
    found = contents(folder / "killed")
    assert found.keys() == expected
    assert found == contents(folder / "undisturbed")
    assert not list((folder / "killed").glob(".*.part*"))
    assert f"{bad} failed" in said
    return killed


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_as_an_undisturbed_one(tmp_path):
    assert check_killed_runs(tmp_path, count=40, bad=4, kills=2) == 2


@pytest.mark.slow
def test_shards_of_which_one_is_killed_end_as_one_run(tmp_path):
    killed, redone = check_killed_shards(tmp_path, count=40, bad=2, shards=2, kills=1)
    assert killed == 1
    assert redone == 0  # what is finished stays; of four that were at work nothing is seen


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        begun, (first, *numbers) = time.perf_counter(), sys.argv[1:]
        if first == "shards":  # then pictures, bad ones, shards, kills
            died, twice = check_killed_shards(Path(name), *map(int, numbers))
            print(f"{died} shards killed, {twice} results written again")
        else:
            died = check_killed_runs(Path(name), int(first), *map(int, numbers))
            print(f"{died} runs killed")
        print(f"{time.perf_counter() - begun:.0f} s")
