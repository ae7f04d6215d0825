"""Whole runs through the entry point: a killed run, two processes; configs at their real size."""

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from clipteacher.adapter import VisualLanguageAdapter
from clipteacher.build import build_student
from ovs_core.data.build import dataset_metadata
from ovs_core.data.embedded.dataset import SPLITS
from ovs_core.engine.config import load_cfg
from ovs_core.engine.optimizer import build_optimizer, parameter_groups
from ovs_core.engine.run import run
from ovs_core.errors import UserError
from ovs_core.methods.configs import list_configs
from ovs_core.methods.projects import config_dir
from ovs_core.modeling.build import build_templates
from ovs_core.modeling.checkpoint import read_checkpoint
from ovs_core.reports.benchmark_inputs import training_sample
from ovs_core.reports.benchmark_training import benchmark_training
from ovs_core.reports.tables import find_table

ROOT = Path(__file__).parents[2]
CONFIGS = config_dir("clipteacher")
NAMES = [name.removeprefix("clipteacher/") for name in list_configs("clipteacher")]
SHORT = [
    "MODEL.DEVICE", "cpu", "DATASETS.TEST", "()", "INPUT.MMSEG.CROP", "64",
    "MODEL.CLIPTEACHER.STUDENT.HEAD_WIDTH", "16", "MODEL.CLIPTEACHER.GLM.BANK_SIZE", "3",
    "SOLVER.MAX_ITER", "7", "SOLVER.CHECKPOINT_PERIOD", "2", "SOLVER.WARMUP_ITERS", "2",
]  # fmt: skip


def start(output, *options, launcher=()):
    return subprocess.Popen(
        [
            sys.executable,
            *launcher,
            str(ROOT / "train_net.py"),
            "--config-file",
            str(CONFIGS / "tiny.yaml"),
            *options,
            "OUTPUT_DIR",
            str(output),
            *SHORT,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-3000:]


def state(folder):
    """Trained tensors and bank of a finished run."""
    data = read_checkpoint(folder / "model_final.pth")
    return data["model"], data["trainer"]["_trainer"]["model_run"]["bank"]


@pytest.mark.slow
def test_a_killed_run_goes_on_exactly_bank_included(tmp_path):
    batch = ("SOLVER.IMS_PER_BATCH", "2")
    finish(start(tmp_path / "whole", *batch))
    process = start(tmp_path / "killed", *batch)
    while not (tmp_path / "killed/model_0000003.pth").exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed/model_final.pth").exists()
    finish(start(tmp_path / "killed", "--resume", *batch))
    (weights, bank), (found, found_bank) = (state(tmp_path / n) for n in ("whole", "killed"))
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert len(bank) == len(found_bank) == 3
    assert all(map(torch.equal, found_bank, bank))


@pytest.mark.slow
def test_two_processes_with_half_the_batch_hold_the_bank_of_one(tmp_path):
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29657"]
    batch = ("SOLVER.IMS_PER_BATCH", "4", "MODEL.CLIPTEACHER.PICTURES_PER_GROUP", "2")
    finish(start(tmp_path / "one", *batch))
    finish(start(tmp_path / "two", *batch, launcher=launcher))
    (_, one), (_, two) = (state(tmp_path / name) for name in ("one", "two"))
    assert len(one) == len(two) == 3
    for ours, expected in zip(two, one, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_unseen_classes_are_learned_from_the_cls_tokens(tmp_path, monkeypatch):
    monkeypatch.setenv("OVSUITE_CACHE", str(tmp_path / "cache"))
    for split, count in (("train", 300), ("val", 40)):  # of 1,000 and 200
        monkeypatch.setitem(SPLITS, split, replace(SPLITS[split], count=count))
    few = [
        "SOLVER.MAX_ITER", "60", "SOLVER.WARMUP_ITERS", "6", "MODEL.DEVICE", "cpu",
        "MODEL.CLIPTEACHER.STUDENT.NAME", "small_convnet", "SOLVER.PARAM_MULTIPLIERS", "[]",
    ]  # fmt: skip
    figures = {}
    for enabled in ("True", "False"):
        options = [*few, "MODEL.CLIPTEACHER.GLM.ENABLED", enabled]
        output = ["OUTPUT_DIR", str(tmp_path / enabled)]
        figures[enabled] = run(str(CONFIGS / "tiny.yaml"), [*options, *output])["sem_seg"]
    assert figures["True"]["pACC"] > 60
    assert figures["True"]["mIoU_U"] > figures["False"]["mIoU_U"] + 8


def test_shares_of_a_training_step():
    cfg = load_cfg(CONFIGS / "tiny.yaml", SHORT)
    model = build_model(cfg).train()
    model.set_vocabulary(["cat", "dog", "sky"])
    batch = [training_sample((64, 64), 3, unlabelled=0.5) for _ in range(2)]
    parts = ["teacher.encode", "objective.find_objects"]
    optimizer = build_optimizer(cfg, model)
    found = benchmark_training(model, optimizer, batch, 1, parts=parts)["parts"]
    assert found.keys() == set(parts) and 0 < sum(found.values()) < 1
    with pytest.raises(UserError, match="the model has no 'techer.encode'"):
        benchmark_training(model, optimizer, batch, 1, parts=["techer.encode"])


def test_rows_of_the_comparison():
    titles = [row.title for row in find_table("clipteacher/tiny").choose(["3", "5"]).rows]
    assert titles[0] == "frozen CLIP" and titles[-1] == "CLIPTeacher"
    assert {"no CE", "no GLM", "VLA: MLP"} <= set(titles) and "GLM: max" not in titles


@pytest.mark.parametrize("name", NAMES)
def test_every_config_loads_and_knows_its_data(name):
    cfg = load_cfg(CONFIGS / f"{name}.yaml")
    assert cfg.MODEL.META_ARCHITECTURE == "CLIPTeacher"
    assert build_templates(cfg)
    if Path(name).name.startswith("Base-") and not cfg.DATASETS.TRAIN:
        return
    train, test = (dataset_metadata(names[0]) for names in (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST))
    assert train.unseen_classes and test.unseen_classes
    if "_to_" in name:  # Table 2: the other dataset's words on the weights of the COCO run
        trained = load_cfg(CONFIGS / f"{name.partition('_to_')[0]}.yaml")
        assert cfg.MODEL.WEIGHTS == f"{trained.OUTPUT_DIR}/model_final.pth"
        assert cfg.DATASETS.TEST != trained.DATASETS.TEST
        assert cfg.OUTPUT_DIR != trained.OUTPUT_DIR
    elif name != "tiny" and "Base" not in name:
        steps = {"voc": 20_000, "context": 40_000, "coco": 80_000}
        dataset = "context" if name.startswith("ablations") else name.rpartition("_")[2]
        expected = 20_000 if name.startswith("ablations") else steps[dataset]
        assert cfg.SOLVER.MAX_ITER == expected


class Trained(nn.Module):
    """What a config trains, under the names that its learning rates go by; no CLIP."""

    def __init__(self, cfg):
        super().__init__()
        self.student = build_student(cfg, 512)
        self.objective = nn.Module()
        self.objective.adapter = VisualLanguageAdapter(512)


STUDENTS = {
    load_cfg(CONFIGS / f"{name}.yaml").MODEL.CLIPTEACHER.STUDENT.NAME: name
    for name in NAMES
    if name.endswith("_context") and "_to_" not in name
}


@pytest.mark.slow
@pytest.mark.parametrize("student", STUDENTS)
def test_every_student_builds_at_its_real_size_with_its_rates(student):
    cfg = load_cfg(CONFIGS / f"{STUDENTS[student]}.yaml", ["MODEL.CLIPTEACHER.STUDENT.WEIGHTS", ""])
    trained = Trained(cfg)
    with torch.no_grad():
        features = trained.student.eval()(torch.zeros(1, 3, 64, 64))
    stride = 8 if student.startswith("segnext") else 4
    assert features.shape == (1, 512, 64 // stride, 64 // stride)
    settings = {
        name: (group["lr"], group["weight_decay"])
        for group in parameter_groups(cfg, trained)
        for name in group["names"]
    }
    base = 1e-4 if student.startswith("convnext") else 6e-5
    head = base if student.startswith(("convnext", "swin")) else 10 * base
    rates = {name: rate for name, (rate, _) in settings.items()}
    assert rates["student.projection.weight"] == pytest.approx(head)
    assert rates["objective.adapter.decoder.layers.0.linear1.weight"] == pytest.approx(head)
    encoder = {n: v for n, v in settings.items() if n.startswith("student.network.encoder")}
    norms = {decay for name, (_, decay) in encoder.items() if "norm" in name}
    assert norms == {0.0}
    if student.startswith("convnext"):
        assert min(r for r, _ in encoder.values()) == pytest.approx(base * 0.9**13, rel=1e-3)
    else:
        assert {rate for rate, _ in encoder.values()} == {base}
    tables = [d for n, (_, d) in encoder.items() if "relative_position_bias_table" in n]
    assert tables == [0.0] * len(tables) and bool(tables) == student.startswith("swin")
