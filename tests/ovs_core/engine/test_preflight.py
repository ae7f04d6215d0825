"""What a run would fail of is one line, before a model is built and before processes start."""

import subprocess
import sys
from pathlib import Path

import pytest

from ovs_core.commands import main
from ovs_core.engine import launching
from ovs_core.engine import run as running
from ovs_core.engine.config import load_cfg
from ovs_core.engine.preflight import check_run
from ovs_core.engine.run import run
from ovs_core.errors import UserError

FAULTS = [
    (["DATASETS.TEST", "('toy_val','toy_test')"], "no dataset is registered as 'toy_test'"),
    (["MODEL.WEIGHTS", "lost.pth"], "lost.pth: no such checkpoint"),
    (["MODEL.CLIP.PRETRAINED", "lost.pt"], "lost.pt: no such weight file"),
    (["MODEL.CLIP.PRETRAINED", "losttag"], "'losttag' is neither a file nor a tag"),
    (["SOLVER.IMS_PER_BATCH", "5"], "SOLVER.IMS_PER_BATCH 5 cannot be split over 4 processes"),
    (["SOLVER.IMS_PER_BACH", "4"], "unknown key 'SOLVER.IMS_PER_BACH'"),
]


@pytest.mark.parametrize(("pairs", "line"), FAULTS)
def test_one_line_before_any_process_starts(world, monkeypatch, capfd, pairs, line):
    monkeypatch.setattr(launching, "launch", lambda *_: pytest.fail("processes were started"))
    config = str(world / "toy.yaml")
    code = main(["train", "--config-file", config, "--device", "cpu", "--num-gpus", "4", *pairs])
    shown = capfd.readouterr().err
    assert code == 1 and line in shown and shown.count("\n") == 1


@pytest.mark.parametrize(("pairs", "line"), FAULTS[:4])
@pytest.mark.parametrize("eval_only", [False, True])
def test_alone_too_it_comes_before_the_model(world, monkeypatch, pairs, line, eval_only):
    monkeypatch.setattr(running.Trainer, "build_model", lambda _: pytest.fail("a model was built"))
    with pytest.raises(UserError, match=line.replace("(", r"\(")):
        run(str(world / "toy.yaml"), pairs, eval_only=eval_only)


def test_the_first_picture_of_every_set_is_read(world):
    cfg = load_cfg(world / "toy.yaml")
    check_run(cfg, processes=2, resume=False, eval_only=False)
    for path in world.rglob("*.png"):
        path.unlink()
    with pytest.raises(UserError, match="png"):
        check_run(cfg, processes=2, resume=False, eval_only=False)


def test_a_resumed_run_does_not_need_what_it_began_with(world, tmp_path):
    config, pairs = str(world / "toy.yaml"), ["SOLVER.MAX_ITER", "2"]
    run(config, [*pairs, "DATASETS.TEST", "()"])
    cfg = load_cfg(config, ["MODEL.WEIGHTS", "lost.pth"])
    check_run(cfg, processes=1, resume=True, eval_only=False)
    with pytest.raises(UserError, match=r"lost\.pth"):
        check_run(cfg, processes=1, resume=False, eval_only=False)


@pytest.mark.slow
def test_processes_on_the_cpu_by_the_line_of_the_documents(tmp_path):
    train_net = Path(__file__).parents[3] / "train_net.py"
    done = subprocess.run(
        [sys.executable, str(train_net), "--config-file", "hclip/tiny", "--device", "cpu",
         "--num-gpus", "2", "--output", str(tmp_path / "run"), "SOLVER.MAX_ITER", "1",
         "DATASETS.TEST", "()"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "model_final.pth").is_file()
