"""Whole runs through the entry point: configs, training, two processes, pictures."""

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from PIL import Image

from ovs_core.engine.config import load_cfg
from ovs_core.engine.run import run
from ovs_core.engine.trainer import set_training_words
from ovs_core.errors import UserError
from ovs_core.methods.configs import list_configs
from sptseg.commands import visualize

ROOT = Path(__file__).parents[2]
CONFIGS = [name.removeprefix("sptseg/") for name in list_configs("sptseg")]


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_builds_knows_its_data_and_trains(small_cfg, name):
    options = ["MODEL.SPTSEG.PROMPTS.DEPTH", "11"]
    cfg = small_cfg(name, *options)
    torch.manual_seed(0)
    model = build_model(cfg).train()
    set_training_words(cfg, model)
    labels = torch.randint(0, len(model.vocabulary), (32, 32))
    losses = model([{"image": torch.randint(0, 256, (3, 32, 32)), "sem_seg": labels}])
    sum(losses.values()).backward()
    assert model.split.unseen
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.fixture
def train(small_cfg, world, tmp_path):
    """Write a finished config of a short run on the striped pictures and start it."""
    sets, stem = world
    cfg = small_cfg(
        "sptseg_voc_inductive", "DATASETS.YAML", f"['{sets}']",
        "DATASETS.TRAIN", f"('{stem}_train',)", "DATASETS.TEST", f"('{stem}_val',)",
        "SOLVER.MAX_ITER", "6", "SOLVER.CHECKPOINT_PERIOD", "2", "SOLVER.IMS_PER_BATCH", "2",
        "SOLVER.WARMUP_ITERS", "2", "TEST.EVAL_PERIOD", "0",
    )  # fmt: skip
    path = tmp_path / "run.yaml"
    path.write_text(cfg.dump())

    def start(output, **options):
        return run(str(path), ["OUTPUT_DIR", str(tmp_path / output)], **options)

    start.path = path
    return start


@pytest.mark.slow
def test_two_processes_evaluate_as_one(train, tmp_path):
    train("trained")
    found = {}
    for count in (1, 2):
        output = tmp_path / f"eval{count}"
        command = [
            sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}",
            "--master-port=29641", str(ROOT / "train_net.py"), "--eval-only", "--config-file",
            str(train.path), "MODEL.WEIGHTS", str(tmp_path / "trained" / "model_final.pth"),
            "OUTPUT_DIR", str(output),
        ]  # fmt: skip
        subprocess.run(command, check=True, timeout=600, capture_output=True)
        (path,) = output.rglob("*.json")
        found[count] = json.loads(path.read_text())
    assert found[1] == found[2]


@pytest.mark.slow
def test_unseen_classes_alone(train, small_cfg, tmp_path):
    results = train("unseen", eval_only=True)
    assert "mIoU_unseen_only" not in results["sem_seg"]
    options = ["TEST.EVALUATOR", "sem_seg_unseen"]
    seen_win = [*options, "MODEL.SPTSEG.SEEN_BIAS", "-1.0", "OUTPUT_DIR", str(tmp_path / "wrong")]
    with pytest.raises(UserError, match="set MODEL.SPTSEG.TEST_CLASSES to unseen"):
        run(str(train.path), seen_win, eval_only=True)
    options += ["MODEL.SPTSEG.TEST_CLASSES", "unseen", "OUTPUT_DIR", str(tmp_path / "right")]
    figures = run(str(train.path), options, eval_only=True)["sem_seg"]
    assert figures["pACC_unseen_only"] == 100.0  # one unseen class: nothing else to choose
    assert figures["mIoU_S"] == 0.0


@pytest.mark.slow
def test_pictures(train, world, tmp_path):
    args = Namespace(pictures=[], words=None, samples=2, output=tmp_path / "pictures")
    written = list(visualize.run(load_cfg(train.path), args))
    names = {path.name for path in written}
    assert names == {"seen_unseen.png", "masks_0.png", "filter_0.png"}
    assert all(Image.open(path).size[0] > 100 for path in written)
