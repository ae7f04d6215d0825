import pytest
import torch
from torch import nn

from ovs_core.engine.config import get_ovs_cfg
from ovs_core.engine.optimizer import build_optimizer
from ovs_core.errors import UserError


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.clip = nn.Linear(4, 4)
        self.head = nn.Linear(4, 4)
        self.tied = self.head
        self.norm = nn.LayerNorm(4)
        self.embed = nn.Embedding(3, 4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)


@pytest.fixture
def cfg():
    cfg = get_ovs_cfg()
    cfg.SOLVER.BASE_LR, cfg.SOLVER.WEIGHT_DECAY = 1e-2, 0.1
    cfg.SOLVER.WEIGHT_DECAY_NORM, cfg.SOLVER.WEIGHT_DECAY_EMBED = 0.0, 0.0
    return cfg


def settings(optimizer):
    return {n: (g["lr"], g["weight_decay"]) for g in optimizer.param_groups for n in g["names"]}


def test_groups(cfg):
    cfg.SOLVER.PARAM_MULTIPLIERS = [["clip.bias", 0.1, 0.0], ["clip", 0.01]]
    optimizer = build_optimizer(cfg, Net())
    assert settings(optimizer) == {
        "clip.weight": pytest.approx((1e-4, 0.1)),
        "clip.bias": pytest.approx((1e-3, 0.0)),
        "head.weight": (1e-2, 0.1),
        "head.bias": (1e-2, 0.1),
        "norm.weight": (1e-2, 0.0),
        "norm.bias": (1e-2, 0.0),
        "embed.weight": (1e-2, 0.0),
    }


def test_full_model_clipping(cfg):
    clip = cfg.SOLVER.CLIP_GRADIENTS
    clip.ENABLED, clip.CLIP_TYPE, clip.CLIP_VALUE, clip.NORM_TYPE = True, "full_model", 0.01, 2.0
    cfg.SOLVER.OPTIMIZER, cfg.SOLVER.WEIGHT_DECAY, cfg.SOLVER.MOMENTUM = "SGD", 0.0, 0.0
    net = Net()
    optimizer = build_optimizer(cfg, net)
    before = net.head.weight.detach().clone()
    for p in net.parameters():
        p.grad = torch.ones_like(p) if p.requires_grad else None
    total = sum(p.numel() for p in net.parameters() if p.requires_grad) ** 0.5
    optimizer.step()
    torch.testing.assert_close(before - net.head.weight, torch.full((4, 4), 1e-2 * 0.01 / total))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("OPTIMIZER", "AdamV", "Did you mean 'Adam"),
        ("PARAM_MULTIPLIERS", [["clip"]], "expected"),
        ("PARAM_MULTIPLIERS", [["clip", 1.0], ["clip", 2.0]], "stands there twice"),
    ],
)
def test_wrong_settings(cfg, key, value, message):
    cfg.SOLVER[key] = value
    with pytest.raises(UserError, match=message):
        build_optimizer(cfg, Net())


def test_nothing_to_train(cfg):
    with pytest.raises(UserError, match="no parameter to train"):
        build_optimizer(cfg, Net().requires_grad_(False))
