import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from ovs_core.engine.checkpoint import OVSCheckpointer
from ovs_core.engine.config import load_cfg
from ovs_core.engine.run import build_segmenter, run
from ovs_core.errors import UserError
from ovs_core.files.locks import LOCK
from ovs_core.modeling.checkpoint import read_checkpoint

TOY = Path(__file__).with_name("toy.py")


def losses(folder):
    lines = (folder / "metrics.json").read_text().splitlines()
    return {r["iteration"]: r["total_loss"] for r in map(json.loads, lines) if "total_loss" in r}


def weights(folder):
    return read_checkpoint(folder / "model_final.pth")["model"]


def test_training_evaluates_and_keeps_only_what_it_trained(world, tmp_path):
    results = run(str(world / "toy.yaml"), ["TEST.EVAL_PERIOD", "12"])
    assert 0 <= results["sem_seg"]["mIoU"] <= 100
    assert {"mIoU_S", "mIoU_U", "hIoU"} <= results["sem_seg"].keys()
    checkpoint = read_checkpoint(tmp_path / "run" / "model_final.pth")
    names = {"head.0.weight", "head.0.bias", "head.2.weight", "head.2.bias"}
    assert set(checkpoint["model"]) == names
    assert checkpoint["clip"]["pretrained"] == "random"


def test_a_trained_model_is_better_and_loads_elsewhere(world, tmp_path):
    config = str(world / "toy.yaml")
    before = run(config, ["OUTPUT_DIR", str(tmp_path / "a")], eval_only=True)
    run(config, ["SOLVER.MAX_ITER", "60"])
    final = str(tmp_path / "run" / "model_final.pth")
    options = ["OUTPUT_DIR", str(tmp_path / "b"), "MODEL.WEIGHTS", final]
    after = run(config, options, eval_only=True)
    assert after["sem_seg"]["mIoU"] > before["sem_seg"]["mIoU"] + 20


def test_expected_results_decide_over_training_and_evaluation(world, tmp_path):
    config, final = str(world / "toy.yaml"), str(tmp_path / "run" / "model_final.pth")
    found = run(config)["sem_seg"]["mIoU"]
    options = ["OUTPUT_DIR", str(tmp_path / "other"), "MODEL.WEIGHTS", final]
    for difference, ends in ((0, False), (1, True)):
        expected = str([["sem_seg", "mIoU", found + difference, 0.01]])
        with pytest.raises(SystemExit) if ends else nullcontext():
            run(config, [*options, "TEST.EXPECTED_RESULTS", expected], eval_only=True)
    with pytest.raises(SystemExit):
        run(config, ["OUTPUT_DIR", str(tmp_path / "again"), "TEST.EXPECTED_RESULTS", expected])


def test_resume_after_a_planned_stop_is_exact(world, tmp_path):
    config = str(world / "toy.yaml")
    run(config, ["OUTPUT_DIR", str(tmp_path / "whole")])
    (tmp_path / "run").mkdir()
    subprocess_until(world, tmp_path / "run" / "model_0000005.pth")
    run(config, [], resume=True)
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(value, weights(tmp_path / "run")[name]), name


@pytest.mark.slow
def test_sigkill_at_any_moment(world, tmp_path):
    """Killed again and again at odd moments, the run ends with the uninterrupted run's weights."""
    period = ["SOLVER.CHECKPOINT_PERIOD", "1", "SOLVER.MAX_ITER", "30"]
    assert start(world, *period, "OUTPUT_DIR", str(tmp_path / "whole")).wait(timeout=600) == 0
    killed = 0
    for attempt in range(4):
        process = start(world, "--resume", *period)
        wait_for_iteration(tmp_path / "run", after=4 * attempt, process=process)
        time.sleep(0.013 * attempt)
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path in (tmp_path / "run").glob("model_*.pth"):
            read_checkpoint(path)  # a half-written file would raise
    assert killed >= 2
    last = start(world, "--resume", *period, stderr=subprocess.PIPE)
    assert last.wait(timeout=600) == 0, last.stderr.read()[-3000:]
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(value, weights(tmp_path / "run")[name]), name
    assert {path.name for path in (tmp_path / "run").glob(".*")} <= {LOCK}


def start(world, *options, stderr=subprocess.DEVNULL):
    return subprocess.Popen(
        [sys.executable, str(TOY), str(world), *options],
        stdout=subprocess.DEVNULL, stderr=stderr, text=True,
    )  # fmt: skip


def wait_for_iteration(folder, *, after, process, limit=240):
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline and process.poll() is None:
        done = [int(p.stem.split("_")[1]) for p in folder.glob("model_0*.pth")]
        if done and max(done) >= after:
            return
        time.sleep(0.005)
    assert process.poll() is not None, f"no checkpoint past {after} in {limit} s"


def subprocess_until(world, checkpoint, limit=240):
    """Run in another process and kill it as soon as a checkpoint exists."""
    process = start(world)
    deadline = time.monotonic() + limit
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.exists()


def test_a_half_written_checkpoint_is_never_picked_up(world, tmp_path):
    config = str(world / "toy.yaml")
    run(config, ["SOLVER.MAX_ITER", "4"])
    folder = tmp_path / "run"
    (folder / ".model_0000005.x1.part.pth").write_bytes(b"half")
    run(config, ["SOLVER.MAX_ITER", "6"], resume=True)
    assert not (folder / ".model_0000005.x1.part.pth").exists()


@pytest.mark.slow
def test_two_processes_give_the_same_metrics_as_one(world, tmp_path):
    results = {}
    for count in (1, 2):
        output = tmp_path / f"eval{count}"
        command = [
            sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}",
            "--master-port=29611", str(TOY.with_name("toy_eval.py")), str(world), str(output),
        ]  # fmt: skip
        done = subprocess.run(command, timeout=600, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        results[count] = json.loads((output / "results.json").read_text())
    assert results[1] == results[2]


def test_a_folder_that_holds_a_run_is_refused(world):
    config = str(world / "toy.yaml")
    run(config, ["SOLVER.MAX_ITER", "2"])
    with pytest.raises(UserError, match="holds a run already.*--resume"):
        run(config, ["SOLVER.MAX_ITER", "2"])


def test_a_folder_that_cannot_be_written(world, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write into this folder"):
        run(str(world / "toy.yaml"), ["OUTPUT_DIR", str(tmp_path / "file" / "x")])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["DATASETS.TRAIN", "('toy_trian',)"], "toy_trian"),
        (["DATASETS.TRAIN", "()"], "DATASETS.TRAIN is empty"),
        (["SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", "float8"], "float8"),
        (["MODEL.WEIGHTS", "/none.pth"], "no such checkpoint"),
        (["MODEL.META_ARCHITECTURE", "Tyo"], "Did you mean 'Toy'"),
        (["MODEL.META_ARCHITECTURE", "GeneralizedRCNN"], "ARCHITECTURE: 'GeneralizedRCNN' is unk"),
    ],
)
def test_mistakes_stop_a_run_before_it_starts(world, options, message):
    with pytest.raises(UserError, match=message):
        run(str(world / "toy.yaml"), options)


def test_checkpoints_of_other_models_are_refused(world, tmp_path):
    config = str(world / "toy.yaml")
    run(config, ["SOLVER.MAX_ITER", "2"])
    path = tmp_path / "run" / "model_final.pth"
    data = read_checkpoint(path)

    def load(changed):
        torch.save(changed, tmp_path / "changed.pth")
        build_segmenter(load_cfg(config, ["MODEL.WEIGHTS", str(tmp_path / "changed.pth")]))

    load(data)
    with pytest.raises(UserError, match="holds a HCLIP, but the config builds a Toy"):
        load({**data, "architecture": "HCLIP"})
    with pytest.raises(UserError, match="trained on CLIP"):
        load({**data, "clip": {**data["clip"], "text_fingerprint": "0"}})
    del data["digests"]  # of a checkpoint that was changed on purpose
    with pytest.raises(UserError, match=r"1 missing \(head.2.bias\)"):
        load({**data, "model": {k: v for k, v in data["model"].items() if k != "head.2.bias"}})
    with pytest.raises(UserError, match="of other shape"):
        load({**data, "model": {**data["model"], "head.2.bias": torch.zeros(3)}})
    with pytest.raises(UserError, match="Toy reads no others"):
        load({"state_dict": data["model"]})
    (tmp_path / "cut.pth").write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError, match=r"cut\.pth: (damaged|refused)"):
        read_checkpoint(tmp_path / "cut.pth")


def test_accumulation_equals_a_larger_batch(world, tmp_path):
    config = str(world / "toy.yaml")
    common = ["SOLVER.MAX_ITER", "3", "SOLVER.OPTIMIZER", "SGD"]
    run(config, [*common, "OUTPUT_DIR", str(tmp_path / "a"), "SOLVER.IMS_PER_BATCH", "4"])
    parts = ["SOLVER.IMS_PER_BATCH", "2", "SOLVER.ACCUMULATE", "2"]
    run(config, [*common, *parts, "OUTPUT_DIR", str(tmp_path / "b")])
    # Dropout draws differ between one batch of four and two of two; the data do not.
    a, b = losses(tmp_path / "a"), losses(tmp_path / "b")
    assert a.keys() == b.keys()
    assert abs(a[max(a)] - b[max(b)]) < 0.5


def test_bfloat16_training_runs(world):
    run(str(world / "toy.yaml"), ["SOLVER.AMP.ENABLED", "True", "SOLVER.MAX_ITER", "2"])


def test_the_second_evaluation_embeds_no_text(world, tmp_path, monkeypatch):
    from ovs_core.clip.text_encoder import TextEncoder

    counted = []
    original = TextEncoder.__call__
    monkeypatch.setattr(
        TextEncoder, "__call__", lambda self, t: counted.append(len(t)) or original(self, t)
    )
    config = str(world / "toy.yaml")
    run(config, ["OUTPUT_DIR", str(tmp_path / "a")], eval_only=True)
    assert sum(counted) == 3
    run(config, ["OUTPUT_DIR", str(tmp_path / "b")], eval_only=True)
    assert sum(counted) == 3


def test_a_full_disk_costs_no_checkpoint(world, tmp_path, limit_files, monkeypatch):
    config, folder = str(world / "toy.yaml"), tmp_path / "run"
    run(config, ["OUTPUT_DIR", str(tmp_path / "whole"), "DATASETS.TEST", "()"])
    shutil.copytree(tmp_path / "whole", folder)
    for later in ("model_final.pth", "model_0000005.pth"):
        (folder / later).unlink()
    (folder / "last_checkpoint").write_text("model_0000003.pth")
    kept = (folder / "model_0000003.pth").read_bytes()

    def save(self, name, **extra):
        limit_files(len(kept) // 2)
        original(self, name, **extra)

    original = OVSCheckpointer.save
    with monkeypatch.context() as patch:
        patch.setattr(OVSCheckpointer, "save", save)
        with pytest.raises(OSError) as caught:
            run(config, ["DATASETS.TEST", "()"], resume=True)
    limit_files(None)
    assert caught.value.filename == str(folder / "model_0000005.pth")
    assert (folder / "model_0000003.pth").read_bytes() == kept
    assert not list(folder.glob(".*.part*"))
    run(config, ["DATASETS.TEST", "()"], resume=True)
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(value, weights(folder)[name]), name


@pytest.mark.slow
def test_of_two_trainings_in_one_folder_one_runs(world, tmp_path):
    long = ["SOLVER.MAX_ITER", "40", "DATASETS.TEST", "()"]
    both = [start(world, *long, stderr=subprocess.PIPE) for _ in range(2)]
    errors = [process.communicate(timeout=600)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 1]
    (refused,) = (text for process, text in zip(both, errors, strict=True) if process.returncode)
    assert "a training of process" in refused and "is at work here" in refused
    assert read_checkpoint(tmp_path / "run" / "model_final.pth")["iteration"] == 39


def test_an_evaluation_in_batches_gives_the_same_figures(world, tmp_path, monkeypatch):
    config, model, shown = str(world / "toy.yaml"), sys.modules["ovs_toy"].Toy, []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda self, x: shown.append(len(x)) or encode(self, x))
    found = [
        run(config, ["OUTPUT_DIR", str(tmp_path / f"of_{n}"), "TEST.IMS_PER_BATCH", str(n)],
            eval_only=True)
        for n in (1, 3)
    ]  # fmt: skip
    assert shown == [1] * 8 + [3, 3, 2]
    assert found[0] == found[1]
