"""Training and evaluation on the embedded world through the suite's own entry."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ovs_core.engine.run import run
from ovs_core.methods.projects import config_dir

CONFIGS = ("tiny", "tiny_panoptic", "tiny_fcclip")  # semantic; panoptic; and instances too
QUICK = [
    "MODEL.DEVICE", "cpu", "MODEL.CLIP.PRETRAINED", "random", "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.MAX_ITER", "4", "SOLVER.CHECKPOINT_PERIOD", "2", "TEST.EVAL_PERIOD", "0",
    "DATASETS.TEST", "()", "MODEL.MASK_FORMER.TRAIN_NUM_POINTS", "64",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS)
def test_a_resumed_run_ends_with_the_same_weights(config, tmp_path):
    path = str(config_dir("maftplus") / f"{config}.yaml")
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    run(path, [*QUICK, "OUTPUT_DIR", str(whole)])
    resumed.mkdir()
    shutil.copy(whole / "model_0000001.pth", resumed)
    (resumed / "last_checkpoint").write_text("model_0000001.pth")
    run(path, [*QUICK, "OUTPUT_DIR", str(resumed)], resume=True)
    first, second = (
        torch.load(folder / "model_final.pth", weights_only=True)["model"]
        for folder in (whole, resumed)
    )
    half = torch.load(whole / "model_0000001.pth", weights_only=True)["model"]
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], half[name]) for name in first)


@pytest.mark.slow
def test_two_processes_measure_what_one_measures(tmp_path):
    texts = {}
    for count in (1, 2):
        output = tmp_path / f"eval{count}"
        command = [
            sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}",
            "--master-port=29617", str(Path(__file__).with_name("evaluate_part.py")),
            str(output),
        ]  # fmt: skip
        done = subprocess.run(command, timeout=800, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        texts[count] = (output / "results.json").read_text()
    assert texts[1] == texts[2]
    measured = json.loads(texts[1])
    assert [len(measured[config]) for config in CONFIGS] == [1, 2, 3]
    assert all(measured[config]["sem_seg"]["mIoU"] > 20 for config in CONFIGS)
    assert all(measured[config]["panoptic_seg"]["PQ"] > 0 for config in CONFIGS[1:])
    assert measured["tiny_fcclip"]["segm"]["AP"] >= 0
