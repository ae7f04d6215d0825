"""Pictures on Ray: an actor does what one process does, and a run that is killed goes on.

The last test starts Ray; ``python tests/ovs_core/predict/test_ray.py 10000 20 2`` is the same with
as many pictures, bad ones and kills of the driver as it says.
"""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from ovs_core.commands import main
from ovs_core.errors import UserError
from ovs_core.files import locks
from ovs_core.files.locks import find_holders, hold_folder
from ovs_core.files.shards import Shard
from ovs_core.predict import predictor as predictor_module
from ovs_core.predict import ray_cluster, ray_engine
from ovs_core.predict.folder import segment_files
from ovs_core.predict.ray_cluster import Resources, Seat, check_ray
from ovs_core.predict.ray_engine import Work, Worker
from ovs_core.predict.reading import find_files, name_files, read_inputs
from ovs_core.predict.row_files import remove_later_blocks
from ovs_core.words.vocabulary import Vocabulary

WORDS = Vocabulary.parse("car, sky")
WAIT = 400  # seconds after which a run that does not end fails its test


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".")}


def rows_of(files, size):
    blocks = list(ray_engine._blocks(name_files(files), size))
    texts = [ray_engine._block_text(block) for block in blocks]
    return [
        {"number": np.array([str(number)]), "block": np.array([text])}
        for number, text in enumerate(texts)
    ]


@pytest.fixture
def worker(predictor, tmp_path, monkeypatch):
    """Gives an actor that runs here, with the predictor of the tests."""
    built = []
    monkeypatch.setattr(
        predictor_module.Predictor, "from_config", lambda *a, **k: built.append(a) or predictor
    )
    here = os.getcwd()

    def start(**more):
        (tmp_path / "out").mkdir(exist_ok=True)
        work = Work("first", WORDS, tmp_path / "out", **more)
        one = Worker(work, Seat(str(tmp_path), 2, 1))
        one.built = built
        return one

    yield start
    os.chdir(here)


def test_blocks_leave_what_one_process_leaves(worker, predictor, pictures, tmp_path):
    (pictures / "bad.png").write_bytes(b"no picture")
    files = find_files([pictures])
    plain = tmp_path / "plain"
    whole = segment_files(predictor, WORDS, read_inputs(files), plain)
    one = worker(batch=2)
    answers = [json.loads(one(row)["answer"][0])["tally"] for row in rows_of(files, 3)]
    assert len(answers) == 3 and len(one.built) == 1
    assert [stem for answer in answers for stem in answer["finished"]] == whole.finished
    assert [line for answer in answers for line in answer["failed"]] == whole.failed
    assert contents(tmp_path / "out") == contents(plain)
    again = [json.loads(one(row)["answer"][0])["tally"] for row in rows_of(files, 4)]
    assert sum(answer["skipped"] for answer in again) == 6


def read_rows(folder):
    parquet = pytest.importorskip("pyarrow.parquet")
    return {p.name: parquet.read_table(p).to_pylist() for p in sorted(folder.glob("*.parquet"))}


def test_rows_of_a_block_say_what_files_say(worker, predictor, pictures, tmp_path):
    (pictures / "bad.png").write_bytes(b"no picture")
    files, plain = find_files([pictures]), tmp_path / "plain"
    segment_files(predictor, WORDS, read_inputs(files), plain)
    answers = [worker(rows=True)(row) for row in rows_of(files, 4)[:1]]
    (rows,) = read_rows(tmp_path / "out").values()
    assert [Path(row["picture"]).name for row in rows] == ["a.png", "b.png", "bad.png", "c.png"]
    assert "bad.png: cannot be decoded" in rows[2]["error"] and rows[2]["segments"] is None
    assert json.loads(answers[0]["answer"][0])["tally"]["failed"] == [rows[2]["error"]]
    for row in (rows[0], rows[1], rows[3]):
        labels = np.asarray(Image.open(plain / f"{row['stem']}_labels.png"))
        assert row["error"] is None and labels.shape == (row["height"], row["width"])
        assert row["segments"]
        for segment in row["segments"]:
            mask = rle.decode(segment["segmentation"]).astype(bool)
            assert np.array_equal(mask, labels == segment["index"])
            assert WORDS.names[segment["index"]] == segment["name"]
        record = json.loads((plain / f"{row['stem']}_segments.json").read_text())
        assert record["made_with"] == row["made_with"] and record["picture"] == row["picture"]


def test_rows_that_are_up_to_date_are_kept_and_the_others_made(worker, pictures, tmp_path):
    files = find_files([pictures])

    def run(size=3):
        one = worker(rows=True)
        tallies = [json.loads(one(row)["answer"][0])["tally"] for row in rows_of(files, size)]
        one._held.close()
        return [[tally[what] for tally in tallies] for what in ("done", "skipped", "failed")]

    whole = pictures / "e.png"
    data = whole.read_bytes()
    whole.write_bytes(b"no picture")
    assert run()[:2] == [[3, 2], [0, 0]]
    written = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*.parquet")}
    assert run()[:2] == [[0, 0], [3, 2]]
    assert {p: p.stat().st_mtime_ns for p in written} == written  # same rows, same error
    whole.write_bytes(data)
    Image.new("RGB", (9, 9)).save(pictures / "a.png")
    assert run() == [[1, 1], [2, 2], [[], []]]
    rows = read_rows(tmp_path / "out")
    assert [len(file) for file in rows.values()] == [3, 3]
    assert not any(row["error"] for file in rows.values() for row in file)
    remove_later_blocks(tmp_path / "out", 1)
    assert read_rows(tmp_path / "out").keys() == {"segments-000000.parquet"}


def test_a_file_of_another_origin_is_kept_and_its_block_is_a_line(worker, pictures, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    one, path = worker(rows=True), tmp_path / "out" / "segments-000000.parquet"
    for content in (pyarrow.table({"a": [1]}), None):
        parquet.write_table(content, path) if content is not None else path.write_bytes(b"mine")
        before = path.read_bytes()
        (row,) = rows_of(find_files([pictures]), 6)
        (line,) = json.loads(one(row)["answer"][0])["tally"]["failed"]
        assert "segments-000000.parquet: exists and" in line
        remove_later_blocks(tmp_path / "out", 0)
        assert path.read_bytes() == before


def test_a_file_that_holds_many_is_a_block_of_its_own(tmp_path):
    files = [tmp_path / name for name in ("a.png", "v.avi", "b.png", "s.tar", "c.png")]
    stems = [[one.stem for one in block] for block in ray_engine._blocks(name_files(files), 2)]
    assert stems == [["v"], ["a", "b"], ["s"], ["c"]]


def test_a_block_that_ends_its_process_is_tried_twice_and_then_a_line(worker, pictures, tmp_path):
    one, (row, *_) = worker(), rows_of(find_files([pictures]), 6)
    for _ in range(2):  # what is left of processes that were killed
        assert ray_cluster.may_try(tmp_path / "out", 0)
    (line,) = json.loads(one(row)["answer"][0])["tally"]["failed"]
    assert "a.png and 5 more: the process that segmented them ended 2 times" in line


def test_a_full_disk_ends_the_run_and_other_faults_end_a_block(worker, pictures, monkeypatch):
    (row,), one = rows_of(find_files([pictures]), 6), worker()
    for number, stopped in ((errno.ENOSPC, True), (errno.EIO, False)):
        fault = OSError(number, os.strerror(number))
        monkeypatch.setattr(one, "_segment", lambda *given, fault=fault: raise_it(fault))
        tally = json.loads(one(row)["answer"][0])["tally"]
        assert bool(tally["stopped"]) == stopped and len(tally["failed"]) == 1
        assert "a.png: " in tally["failed"][0] and os.strerror(number) in tally["failed"][0]


def raise_it(fault):
    raise fault


def test_addresses_go_to_actors_as_they_are(worker, pictures):
    tally = json.loads(worker()(rows_of([f"file://{pictures}/a.png"], 6)[0])["answer"][0])["tally"]
    assert tally["finished"] == ["a"] and not tally["failed"]


def test_an_actor_without_a_model_says_why(worker, monkeypatch, pictures):
    def refuse(*given, **more):
        raise UserError("first: no such config")

    monkeypatch.setattr(predictor_module.Predictor, "from_config", refuse)
    answer = json.loads(worker()(rows_of(find_files([pictures]), 6)[0])["answer"][0])
    assert answer == {"refusal": "first: no such config"}


def test_actors_are_told_from_others_and_waited_for(worker, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with hold_folder(out, "a driver"):
        one = worker()
        other = worker()
    first, second = find_holders(out)
    assert "(worker 1/2)" in first and "(worker 2/2)" in second
    monkeypatch.setattr(locks, "DOOR_PATIENCE", 0.01)
    assert "is at work here" in worker()._refusal
    with pytest.raises(UserError, match="is at work here"):
        with hold_folder(out, "the next driver", patience=0.01):
            pass
    threading.Timer(0.3, lambda: (one._held.close(), other._held.close())).start()
    with hold_folder(out, "the next driver", patience=60):
        assert not locks.shards_at_work(out)
    assert Shard(1, 2) not in locks.shards_at_work(out)


def test_ray_is_loaded_where_it_is_used_and_missing_in_one_line(monkeypatch):
    code = (
        "import sys, ovs_core.predict.ray_engine as e; print({'ray', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    with pytest.raises(UserError, match=r"package ray; pip install -e '\.\[ray\]'"):
        check_ray()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_resources_that_are_not_there_are_refused(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    room = ray_cluster.room
    assert room(Resources(), 10, "auto") == (2, 0.0)
    assert room(Resources(workers=1), 10, "cpu") == (1, 0.0)
    assert room(Resources(), 1, "cpu") == (1, 0.0)
    assert room(Resources("auto", workers=3), 9, "cpu") == (3, 0.0)  # a cluster may grow
    with pytest.raises(UserError, match="3 workers with 1 CPUs and 0 GPUs each do not fit"):
        room(Resources(workers=3), 10, "cpu")
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": 2.0})
    assert room(Resources(gpus=0.5), 10, "auto") == (4, 0.5)
    assert room(Resources(), 10, "auto") == (2, 1.0)
    assert room(Resources(), 10, "cpu") == (8, 0.0)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--rows"], "--rows needs --engine ray"),
        (["--gpus-per-worker", "0"], "--gpus-per-worker needs --engine ray"),
        (["--engine", "ray", "--shard", "1/2"], "leave --shard out"),
        (["--engine", "ray", "--rows", "--format", "csv"], "--rows goes with neither"),
    ],
)
def test_options_that_do_not_go_together_are_refused(pictures, tmp_path, capsys, more, said):
    line = ["segment", str(pictures), "--words", "car", "--method", "cliptrase/tiny"]
    assert main([*line, "--output", str(tmp_path / "none"), *more]) != 0
    assert said in capsys.readouterr().err and not (tmp_path / "none").exists()


def draw_pictures(folder, count, bad):
    """Small pictures of which some cannot be read."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        blobs = Image.fromarray(rng.integers(0, 255, (4, 4, 3), dtype=np.uint8))
        path = folder / f"{number:05d}.png"
        blobs.resize((64, 64), Image.Resampling.BICUBIC).save(path)
        if number % (count // bad) == 0:
            path.write_bytes(b"no picture")


def start(folder, out, *more):
    """The line in a process of its own, whose temporary files lie in ``t``."""
    line = ["segment", "pictures", "--words", "car, sky, sand", "--device", "cpu", "--output", out]
    environment = {**os.environ, "OVSUITE_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    environment["TMPDIR"] = str(folder / "t")
    (folder / "t").mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "ovs_core", *line, "--method", "cliptrase/tiny_maskclip", *more],
        cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(running):
    try:
        return running.communicate(timeout=WAIT)
    except subprocess.TimeoutExpired:
        running.kill()
        raise


def check_killed_drivers(folder, count, bad, kills, block, workers):
    """What is left by runs whose driver is killed is what one process leaves; how many were redone.

    Args:
        folder: a short one: Ray keeps sockets below it.
        count: pictures.
        bad: those of them that cannot be read.
        kills: of the driver.
        block: pictures of a block.
        workers: actors.

    Returns:
        The results that were written more than once.
    """
    draw_pictures(folder / "pictures", count, bad)
    _, told = finish(start(folder, "plain"))
    ray = ("--engine", "ray", "--workers", str(workers), "--block", str(block))
    chance, out, before = random.Random(0), folder / "ray", {}
    written = 0
    for kill in range(kills):
        running, until = start(folder, "ray", *ray), time.monotonic() + WAIT
        wanted = len(before) + chance.randint(1, max(1, (count - bad) // (kills + 1)))
        while running.poll() is None and time.monotonic() < until:
            if len(list(out.glob("*_segments.json"))) >= wanted:
                break
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        finish(running)
        assert running.returncode == -signal.SIGKILL, f"kill {kill} came too late or too early"
        with hold_folder(out, "the test", patience=60):  # when the actors have ended, too
            now = {p.name: p.stat().st_mtime_ns for p in out.glob("*_segments.json")}
        written += sum(before.get(name) != at for name, at in now.items())
        before = now
    said, again = finish(start(folder, "ray", *ray))
    now = {p.name: p.stat().st_mtime_ns for p in out.glob("*_segments.json")}
    written += sum(before.get(name) != at for name, at in now.items())
    lines = [[x for x in text.splitlines() if x.startswith("error: ")] for text in (told, again)]
    assert len(lines[0]) == bad and lines[0] == lines[1], again
    assert f"{bad} failed" in said
    assert len(now) == count - bad
    assert contents(out) == contents(folder / "plain")
    assert not list(out.glob(".*.part*")) and not list(out.glob(".ovsuite.block-*"))
    return written - (count - bad)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_run_whose_driver_is_killed_ends_as_one_process(request):
    pytest.importorskip("ray")
    folder = Path(tempfile.mkdtemp(prefix="ovs", dir="/tmp"))  # Ray's sockets need a short path
    request.addfinalizer(lambda: shutil.rmtree(folder))
    assert check_killed_drivers(folder, count=24, bad=2, kills=1, block=4, workers=1) <= 4


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="ovs", dir="/tmp") as name:
        begun, (number, broken, deaths) = time.perf_counter(), map(int, sys.argv[1:])
        redone = check_killed_drivers(Path(name), number, broken, deaths, block=64, workers=2)
        print(f"{redone} of {number} redone, {time.perf_counter() - begun:.0f} s")
