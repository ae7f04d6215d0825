"""Every config file of the project is read whole, and the tiny one trains."""

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from hclip import CATSeg
from hclip.build import aggregation_settings, finetune_settings
from hclip.finetune import MODES
from ovs_core.engine.config import load_cfg
from ovs_core.engine.optimizer import build_optimizer
from ovs_core.errors import UserError
from ovs_core.methods.projects import config_dir

CONFIGS = config_dir("hclip")
FILES = sorted(
    p.relative_to(CONFIGS).as_posix()
    for p in CONFIGS.rglob("*.yaml")
    if p.parent.name != "detection"  # test_detection_runs.py
)


@pytest.mark.parametrize("name", FILES)
def test_config_is_read_and_makes_sense(name):
    cfg = load_cfg(CONFIGS / name)
    finetune, decoder = finetune_settings(cfg), aggregation_settings(cfg)
    assert cfg.MODEL.META_ARCHITECTURE == ("HCLIP" if finetune.mode == "hclip" else "CATSeg") or (
        Path(name).name.startswith("Base")
    )
    grid = cfg.MODEL.CATSEG.IMAGE_SIZE // {"ViT-L-14-336-quickgelu": 14, "embedded-vit": 8}.get(
        cfg.MODEL.CLIP.ARCHITECTURE, 16
    )
    assert grid % decoder.window == 0


def test_every_mode_and_ablation_has_a_config():
    modes = {finetune_settings(load_cfg(CONFIGS / name)).mode for name in FILES}
    assert modes >= set(MODES) - {"full"}


def tiny(*options):
    cfg = load_cfg(CONFIGS / "tiny.yaml", ["MODEL.CLIP.PRETRAINED", "random", *options])
    torch.manual_seed(0)
    return cfg, build_model(cfg)


def test_tiny_config_trains():
    cfg, model = tiny()
    assert isinstance(model, CATSeg)
    model.set_vocabulary([f"thing {i}" for i in range(28)], unseen=[3])
    optimizer = build_optimizer(cfg, model.train())
    image = torch.randint(0, 256, (3, 96, 96), dtype=torch.uint8)
    label = torch.arange(96).expand(96, 96) // 4
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = model([{"image": image, "sem_seg": label}])["loss_sem_seg"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[2] < losses[0]
    rates = {g["lr"] for g in optimizer.param_groups}
    assert sorted(rates) == pytest.approx([0.1 * cfg.SOLVER.BASE_LR, cfg.SOLVER.BASE_LR])


def test_hclip_refuses_other_ways_to_fine_tune():
    with pytest.raises(UserError, match="use CATSeg"):
        tiny("MODEL.CATSEG.FINETUNE", "lora")


def test_block_size_that_does_not_divide_names_those_that_do():
    with pytest.raises(UserError, match="1, 2, 4, 8, 16, 32, 64"):
        tiny("MODEL.HCLIP.BLOCK_SIZE", "128")
