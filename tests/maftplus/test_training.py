"""Training on the embedded world through the suite's own entry."""

import shutil

import pytest
import torch

from ovs_core.engine.run import run
from ovs_core.projects import config_dir

QUICK = [
    "MODEL.DEVICE", "cpu", "MODEL.CLIP.PRETRAINED", "random", "SOLVER.IMS_PER_BATCH", "2",
    "SOLVER.MAX_ITER", "4", "SOLVER.CHECKPOINT_PERIOD", "2", "TEST.EVAL_PERIOD", "0",
    "DATASETS.TEST", "()", "MODEL.MASK_FORMER.TRAIN_NUM_POINTS", "64",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("config", ["tiny", "tiny_panoptic", "tiny_fcclip"])
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
