"""Several processes share the pictures of a run: who is let in, and what they leave."""

import contextlib

import pytest

from ovs_core.engine.place import find_shard, own_device
from ovs_core.errors import UserError
from ovs_core.files import locks
from ovs_core.files.locks import hold_folder
from ovs_core.files.shards import Shard
from ovs_core.predict.folder import segment_files
from ovs_core.predict.progress import find_progress
from ovs_core.predict.reading import find_files, read_inputs
from ovs_core.predict.run_file import open_output
from ovs_core.words.vocabulary import Vocabulary

WORDS = Vocabulary.parse("car, sky")
LINE = {"words": "car, sky"}
HALF = ".0123456789ab.part.png"


def work(predictor, pictures, out, shard=None):
    with open_output(out, WORDS, LINE, shard=shard) as folder:
        inputs = read_inputs(find_files([pictures]))
        return segment_files(predictor, WORDS, inputs, folder, total=6, shard=shard)


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".")}


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(locks, "DOOR_PATIENCE", 0.01)


@pytest.mark.parametrize("count", [1, 4, 7])
def test_shards_together_leave_what_one_process_leaves(predictor, pictures, tmp_path, count):
    work(predictor, pictures, tmp_path / "whole")
    done = [
        work(predictor, pictures, tmp_path / "shared", Shard(number, count)).done
        for number in range(count, 0, -1)
    ]
    assert sum(done) == 6 and max(done) - min(done) <= 1
    assert contents(tmp_path / "shared") == contents(tmp_path / "whole")
    assert work(predictor, pictures, tmp_path / "shared").skipped == 6


def test_a_shard_that_is_at_work_is_refused_and_named_and_its_neighbours_are_not(tmp_path):
    with open_output(tmp_path, WORDS, LINE, shard=Shard(2, 3)):
        with pytest.raises(UserError, match=r"a segmentation \(shard 2/3\) of process \d+ on"):
            with open_output(tmp_path, WORDS, LINE, shard=Shard(2, 3)):
                pass
        with open_output(tmp_path, WORDS, LINE, shard=Shard(1, 3)):
            pass
    with open_output(tmp_path, WORDS, LINE, shard=Shard(2, 3)):
        pass


def test_who_would_write_the_same_pictures_is_kept_out(tmp_path, impatient):
    with open_output(tmp_path, WORDS, LINE, shard=Shard(2, 3)):
        for intruder in (hold_folder(tmp_path, "a training"), open_output(tmp_path, WORDS, LINE),
                         open_output(tmp_path, WORDS, LINE, shard=Shard(2, 4))):  # fmt: skip
            with pytest.raises(UserError, match="shard 2/3"), intruder:
                pass
    with hold_folder(tmp_path, "a training"):
        with pytest.raises(UserError, match="a training of process"):
            with open_output(tmp_path, WORDS, LINE, shard=Shard(1, 3)):
                pass
    with open_output(tmp_path, WORDS, LINE, shard=Shard(2, 4)):  # another count, later
        pass


def test_a_shard_of_another_line_is_refused_even_with_overwrite_while_others_work(tmp_path):
    other = {"words": "car, tree"}
    trees = Vocabulary.parse(other["words"])
    with open_output(tmp_path, WORDS, LINE, shard=Shard(1, 2)):
        with pytest.raises(UserError, match="other words"):
            with open_output(tmp_path, trees, other, shard=Shard(2, 2), overwrite=True):
                pass
    with open_output(tmp_path, trees, other, shard=Shard(2, 2), overwrite=True):
        with open_output(tmp_path, trees, other, shard=Shard(1, 2), overwrite=True):
            pass


def test_halves_are_removed_when_nobody_writes(tmp_path):
    video = tmp_path / "clip"
    video.mkdir()
    halves = [tmp_path / HALF, video / HALF]

    def leave():
        for half in halves:
            half.touch()

    def shard(number):
        return open_output(tmp_path, WORDS, LINE, shard=Shard(number, 2), below=["clip"])

    leave()
    with shard(1):
        assert not any(half.exists() for half in halves)
        leave()  # what the other is writing just now
        with shard(2):
            pass
        assert all(half.exists() for half in halves)
    assert not any(half.exists() for half in halves)


def test_progress_is_told_from_the_folder(predictor, pictures, tmp_path):
    def look(shard=None):
        inputs = read_inputs(find_files([pictures]))
        found = find_progress(shard.take(inputs) if shard else inputs, out, WORDS, LINE)
        return found.finished, found.unfinished, found.to_do, len(found.at_work)

    out = tmp_path / "out"
    assert look() == (0, 0, 6, 0) and not out.exists()
    work(predictor, pictures, out, Shard(1, 2))
    (out / "a_labels.png").unlink()
    (out / "c_segments.json").unlink()
    assert look() == (1, 2, 3, 0)
    assert look(Shard(2, 2)) == (0, 0, 3, 0)
    with contextlib.ExitStack() as stack:
        for number in (1, 2):
            stack.enter_context(open_output(out, WORDS, LINE, shard=Shard(number, 2)))
        assert look()[3] == 2
    with pytest.raises(UserError, match="other words"):
        find_progress([], out, Vocabulary.parse("tree"), {"words": "tree"})


def test_progress_names_the_run_that_has_the_folder_to_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.01)
    with open_output(tmp_path, WORDS, LINE):
        (holder,) = find_progress([], tmp_path, WORDS, LINE).at_work
    assert holder.startswith("a segmentation of process")


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "-1/4", "1/4/2", ""])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(UserError, match="is no NUMBER/COUNT"):
        Shard.parse(text)


def array(task, first, last, count):
    names = zip(("ID", "MIN", "MAX", "COUNT"), (task, first, last, count), strict=True)
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names}


RANKS = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("environment", "shard"),
    [
        (array(0, 0, 3, 4), "1/4"),
        (array(4, 1, 4, 4), "4/4"),
        (array(8, 0, 12, 4), "3/4"),
        (array(7, 7, 7, 1), "1/1"),
        (RANKS, "2/2"),
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "8"}, "3/8"),
        ({**array(1, 0, 2, 3), **RANKS}, "4/6"),
    ],
)
def test_launchers_number_the_shards(environment, shard):
    assert find_shard(environment) == Shard.parse(shard)


def test_the_processes_of_an_array_and_its_launcher_have_all_shards():
    found = {
        find_shard({**array(task, 2, 6, 3), **RANKS, "RANK": str(rank)})
        for task in (2, 4, 6)
        for rank in (0, 1)
    }
    assert found == {Shard(number, 6) for number in range(1, 7)}


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "give NUMBER/COUNT"),
        (array(3, 1, 7, 3), "have gaps"),  # 1, 4 and 7 are the numbers
        (array(2, 1, 4, 3), "have gaps"),
        ({"SLURM_ARRAY_TASK_ID": "3"}, "no usable SLURM_ARRAY_TASK_ID"),
    ],
)
def test_numbers_that_are_no_shard_are_refused(environment, message):
    with pytest.raises(UserError, match=message):
        find_shard(environment)


@pytest.mark.parametrize(("gpus", "device"), [(0, "auto"), (1, "auto"), (2, "cuda:1")])
def test_processes_of_one_machine_take_a_gpu_each(monkeypatch, gpus, device):
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    assert own_device(RANKS) == device
    assert own_device({}) == "auto"
