"""A resumed run says what it does: which checkpoint, which rate, which settings."""

import shutil

import pytest
import torch

from ovs_core.engine.run import run
from ovs_core.engine.train_step import TrainStep
from ovs_core.errors import UserError
from ovs_core.files.yaml_files import read_yaml
from ovs_core.modeling.checkpoint import read_checkpoint

SHORT = ["SOLVER.MAX_ITER", "6", "DATASETS.TEST", "()"]
LONG = ["SOLVER.MAX_ITER", "9", "DATASETS.TEST", "()"]


@pytest.fixture
def toy(world):
    """Run the toy: options, then keywords of ``run``."""

    def start(*options, **keywords):
        return run(str(world / "toy.yaml"), [*LONG, *options], **keywords)

    return start


@pytest.fixture
def rates(monkeypatch):
    """Every step that is taken: iteration -> learning rate."""
    found = {}
    step = TrainStep.run_step

    def record(self):
        found[self.iter] = [group["lr"] for group in self.optimizer.param_groups]
        step(self)

    monkeypatch.setattr(TrainStep, "run_step", record)
    return found


@pytest.fixture
def folder(toy, tmp_path):
    """A run of 6 iterations, with checkpoints after 2, 4 and 6 of them."""
    toy(*SHORT)
    return tmp_path / "run"


@pytest.fixture
def killed(toy, tmp_path):
    """A run of 9 iterations that was killed after the seventh, and the weights that it misses."""
    toy()
    folder = tmp_path / "run"
    whole = final(folder)["model"]
    for name in ("model_final.pth", "model_0000007.pth"):
        (folder / name).unlink()
    (folder / "last_checkpoint").write_text("model_0000005.pth")
    return folder, whole


def said(folder):
    """Warnings of the runs in a folder."""
    lines = (folder / "train" / "log.txt").read_text().splitlines()
    return "\n".join(line for line in lines if "WARNING" in line)


def kept_seed(folder):
    return read_yaml(folder / "config.yaml")["SEED"]


def final(folder):
    return read_checkpoint(folder / "model_final.pth")


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


@pytest.mark.parametrize(
    "schedule",
    [
        ["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR"],
        ["SOLVER.LR_SCHEDULER_NAME", "WarmupPolyLR"],
        ["SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR", "SOLVER.STEPS", "(4, 7)"],
    ],
)
def test_the_rate_of_a_longer_run_is_that_of_its_schedule(toy, rates, tmp_path, schedule):
    toy(*schedule, "OUTPUT_DIR", str(tmp_path / "whole"))
    wanted = dict(rates)
    rates.clear()
    toy(*SHORT, *schedule)
    rates.clear()
    toy(*schedule, resume=True)
    assert rates == {i: wanted[i] for i in (6, 7, 8)}


def test_a_changed_rate_is_applied_and_said(toy, folder, rates, tmp_path):
    changed = ["SOLVER.BASE_LR", "0.002", "SOLVER.WEIGHT_DECAY", "0.5"]
    toy(*changed, resume=True)
    assert "SOLVER.BASE_LR 0.01 -> 0.002" in said(folder)
    assert "SOLVER.WEIGHT_DECAY 0.0001 -> 0.5" in said(folder)
    resumed = dict(rates)
    toy(*changed, "OUTPUT_DIR", str(tmp_path / "other"))
    assert resumed[6] == rates[6]
    groups = final(folder)["trainer"]["_trainer"]["optimizer"]["param_groups"]
    assert [group["weight_decay"] for group in groups] == [0.0, 0.5]  # of the norm, of the rest


def test_nothing_is_said_of_settings_that_did_not_change(toy, folder):
    toy(*SHORT, resume=True)
    assert "->" not in said(folder)


def test_other_groups_keep_the_moments_of_their_parameters(toy, folder):
    before = final(folder)["trainer"]["_trainer"]["optimizer"]
    toy("SOLVER.MAX_ITER", "7", "SOLVER.PARAM_MULTIPLIERS", "[['head.2.bias', 0.5]]", resume=True)
    after = final(folder)["trainer"]["_trainer"]["optimizer"]
    assert (len(before["param_groups"]), len(after["param_groups"])) == (2, 3)
    assert {float(entry["step"]) for entry in after["state"].values()} == {7.0}


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (["SOLVER.IMS_PER_BATCH", "2"], "SOLVER.IMS_PER_BATCH 4, not 2"),
        (["SOLVER.ACCUMULATE", "2"], "SOLVER.ACCUMULATE 1, not 2"),
        (["SOLVER.OPTIMIZER", "SGD"], "SOLVER.OPTIMIZER AdamW, not SGD"),
        (["SEED", "5"], "SEED 0, not 5"),
        (["DATASETS.TRAIN", "('toy_val',)"], r"DATASETS.TRAIN \['toy_train'\], not \['toy_val'\]"),
        (["INPUT.CROP.SIZE", "[32, 32]"], r"INPUT.CROP.SIZE \[40, 40\], not \[32, 32\]"),
    ],
)
def test_what_makes_it_another_run_is_refused(toy, folder, options, key):
    kept = (folder / "config.yaml").read_text()
    with pytest.raises(UserError, match=f"{key}.*--allow-changes {options[0]}"):
        toy(*options, resume=True)
    assert (folder / "config.yaml").read_text() == kept


def test_accepted_changes(toy, folder):
    options = [
        "SOLVER.OPTIMIZER",
        "SGD",
        "SOLVER.IMS_PER_BATCH",
        "2",
        "INPUT.CROP.SIZE",
        "[32, 32]",
    ]
    toy(*options, resume=True, allow_changes=["SOLVER", "INPUT.CROP.SIZE"])
    assert "SOLVER.OPTIMIZER AdamW -> SGD" in said(folder)
    assert "the optimiser's memory does not fit" in said(folder)
    assert final(folder)["iteration"] == 8


def test_an_accepted_key_must_exist(toy, folder):
    with pytest.raises(UserError, match="unknown key 'SOLVER.IMS_PER_BACH'.*PER_BATCH"):
        toy(resume=True, allow_changes=["SOLVER.IMS_PER_BACH"])


def test_a_drawn_seed_stays(toy, tmp_path):
    toy(*SHORT, "SEED", "-1")
    seed = kept_seed(tmp_path / "run")
    toy("SEED", "-1", resume=True)
    assert seed == kept_seed(tmp_path / "run") > 0


def spoil_pointer(folder):
    (folder / "last_checkpoint").write_bytes(b"\x00\xff\n")


def lose_pointer(folder):
    (folder / "last_checkpoint").unlink()


def lose_file(folder):
    (folder / "model_0000005.pth").unlink()


def cut_file(folder):
    path = folder / "model_0000005.pth"
    path.write_bytes(path.read_bytes()[:1000])


def flip_a_bit_of_the_moments(folder):
    path = folder / "model_0000005.pth"
    content = bytearray(path.read_bytes())
    state = read_checkpoint(path)["trainer"]["_trainer"]["optimizer"]["state"]
    content[content.index(state[2]["exp_avg"].numpy().tobytes())] ^= 4
    path.write_bytes(content)


def leave_the_weights_alone(folder):
    path = folder / "model_0000005.pth"
    torch.save({k: v for k, v in read_checkpoint(path).items() if k != "trainer"}, path)


@pytest.mark.parametrize(
    ("damage", "newest"),
    [
        (lose_pointer, "model_0000005.pth, after 6"),
        (spoil_pointer, "model_0000005.pth, after 6"),
        (lose_file, "model_0000003.pth, after 4"),
        (cut_file, "model_0000003.pth, after 4"),
        (flip_a_bit_of_the_moments, "model_0000003.pth, after 4"),
        (leave_the_weights_alone, "model_0000003.pth, after 4"),
    ],
)
def test_the_newest_readable_checkpoint(toy, killed, damage, newest):
    folder, whole = killed
    damage(folder)
    toy(resume=True)
    assert f"going on with {newest} iterations" in said(folder)
    assert_equal(whole, final(folder)["model"])


def test_states_that_lack_a_part_are_named(toy, folder):
    content = final(folder)
    for states in ({}, content["trainer"] | {"_trainer": {}}):
        torch.save(content | {"trainer": states}, folder / "model_final.pth")
        with pytest.raises(UserError, match="model_final.pth: its part 'trainer' is damaged"):
            toy(resume=True)


def test_a_final_checkpoint_of_a_shorter_run_is_not_the_newest(toy, folder, rates):
    toy("SOLVER.CHECKPOINT_PERIOD", "1", resume=True)
    shutil.copy(folder / "model_0000005.pth", folder / "model_final.pth")
    lose_pointer(folder)
    rates.clear()
    toy("SOLVER.MAX_ITER", "10", resume=True)
    assert min(rates) == 9


@pytest.mark.parametrize("name", ["../elsewhere/model_final.pth", "/model.pth", "..", "a/b.pth"])
def test_a_pointer_that_leaves_the_folder(toy, folder, tmp_path, name):
    shutil.copytree(folder, tmp_path / "elsewhere")
    (folder / "last_checkpoint").write_text(name)
    for keywords in ({}, {"eval_only": True}):
        with pytest.raises(UserError, match="last_checkpoint: names a file outside"):
            toy("DATASETS.TEST", "('toy_val',)", resume=True, **keywords)


def test_no_readable_checkpoint(toy, folder):
    for path in folder.glob("*.pth"):
        path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="none of its 4 checkpoints can be read"):
        toy(resume=True)
    for path in folder.glob("*.pth"):
        path.unlink()
    with pytest.raises(UserError, match="holds no checkpoint.*delete it"):
        toy(resume=True)


def test_a_folder_without_checkpoints_begins(toy, tmp_path, rates):
    toy(*SHORT, resume=True)
    assert min(rates) == 0
    assert "holds no checkpoint" in said(tmp_path / "run")


def test_fewer_iterations_than_were_made(toy, folder):
    with pytest.raises(UserError, match="SOLVER.MAX_ITER is 4, but .* after 6 iterations"):
        toy("SOLVER.MAX_ITER", "4", resume=True)


def test_a_lost_config_is_said(toy, folder):
    (folder / "config.yaml").unlink()
    toy("SOLVER.IMS_PER_BATCH", "2", resume=True)
    assert "config.yaml" in said(folder) and "cannot be compared" in said(folder)


def test_weights_to_start_from_are_not_read_again(toy, folder):
    toy("MODEL.WEIGHTS", "/none.pth", resume=True)
    assert "MODEL.WEIGHTS /none.pth is not read" in said(folder)
    assert "/none.pth" not in (folder / "config.yaml").read_text()
