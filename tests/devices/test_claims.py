"""What the GPU that is not there refuses and counts, shown on faults that are put in."""

import copy
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from .claims import Claimed, MixedDevices

SIDE = 8


class OnTheCPU(nn.Conv2d):
    """Makes a tensor where no one asked for it."""

    def forward(self, x):
        return super().forward(x) + torch.arange(x.shape[-1]).float()


class PixelByPixel(nn.Conv2d):
    """Looks at every pixel from Python."""

    def forward(self, x):
        maps = super().forward(x)
        bright = sum(maps[0, 0, i, j].item() > 0 for i in range(SIDE) for j in range(SIDE))
        return maps * bright


class FromTheCPU(nn.Conv2d):
    """Takes random numbers of the CPU's generator."""

    def forward(self, x):
        noise = torch.rand(x.shape, device=x.device, generator=torch.Generator("cpu"))
        return super().forward(x + noise)


def network(layer):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), layer(4, 4, 1))


def run(layer, x):
    return network(layer).to(x.device)(x)


def test_a_sound_network_is_that_of_the_cpu(gpu):
    x = torch.randn(2, 3, SIDE, SIDE)
    model, other = network(nn.Conv2d), network(nn.Conv2d).to("cuda")
    assert all(isinstance(p, nn.Parameter) and isinstance(p, Claimed) for p in other.parameters())
    for one, shown in ((model, x), (other, x.to("cuda", non_blocking=True))):
        F.cross_entropy(one(shown), shown.argmax(1)).backward()
    for mine, theirs in zip(other.parameters(), model.parameters(), strict=True):
        assert mine.grad.device.type == "cuda"
        assert torch.allclose(mine.grad.cpu(), theirs.grad, atol=1e-6)
    assert gpu.kinds.pop("download") == len(list(model.parameters()))
    assert set(gpu.kinds) <= {"upload"}  # of the weights


@pytest.mark.parametrize("layer", [OnTheCPU, FromTheCPU])
def test_two_devices_are_refused(layer, gpu):
    with pytest.raises(MixedDevices):
        run(layer, torch.randn(1, 3, SIDE, SIDE, device="cuda"))


def test_a_mix_in_the_backward_pass_is_refused(gpu):
    class Mixing(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, grad):
            return torch.ones(grad.shape)

    x = torch.ones(3, device="cuda", requires_grad=True)
    with pytest.raises(RuntimeError, match="expected device cuda:0, got cpu"):
        Mixing.apply(x).sum().backward()


def test_a_wait_for_every_pixel_is_counted(gpu):
    x = torch.randn(1, 3, SIDE, SIDE, device="cuda")
    gpu.reset()
    run(PixelByPixel, x)
    assert gpu.kinds["item"] == SIDE * SIDE


def test_numpy_does_not_read_a_gpu(gpu):
    x = torch.zeros(3, device="cuda")
    for read in (x.numpy, lambda: np.asarray(x)):
        with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
            read()


WAITS = {
    "item": [lambda x: x.sum().item(), lambda x: bool(x.any()), lambda x: float(x.max()),
             lambda x: torch.equal(x, x), lambda x: [1, 2, 3][x.argmax()]],
    "nonzero": [lambda x: x[x > 1], lambda x: x.nonzero(), lambda x: torch.where(x > 0),
                lambda x: x.masked_select(x > 1)],
    "unique": [lambda x: x.unique()],
    "bincount": [lambda x: x.long().bincount()],
    "download": [lambda x: x.cpu(), lambda x: x.tolist(), lambda x: x.to("cpu")],
    "upload": [lambda x: torch.tensor([1.0, 2.0], device=x.device), lambda x: x[[0, 1]],
               lambda x: torch.ones(3).to(x.device)],
    "": [lambda x: x + 1, lambda x: x[x.long()], lambda x: x.to("cuda"), lambda x: x.clone(),
         lambda x: torch.ones(3).to(x.device, non_blocking=True), lambda x: x * torch.tensor(2.0),
         lambda x: torch.zeros(3, device=x.device), lambda x: x.masked_fill(x > 1, 0)],
}  # fmt: skip


@pytest.mark.parametrize("kind", WAITS)
def test_each_kind_of_wait(kind, gpu):
    x = torch.arange(3.0, device="cuda")
    for number, call in enumerate(WAITS[kind]):
        gpu.reset()
        call(x)
        assert gpu.kinds == Counter({kind: 1} if kind else {}), f"{kind}, number {number}"


def test_shared_weights_stay_shared(gpu):
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    both = nn.ModuleList([first, second]).to("cuda")
    assert both[0].weight is both[1].weight is first.weight
    other = copy.deepcopy(both)
    assert other[0].weight.device.type == "cuda" and other[0].weight is not both[0].weight


def test_what_is_left_behind(gpu):
    """Outside of the block there is no GPU; this test is inside."""
    assert torch.zeros(1, device="cuda:0").device == torch.device("cuda:0")
    assert torch.cuda.is_available()


def test_nothing_is_left_behind():
    assert torch.cuda.is_available() == (torch.cuda.device_count() > 0)
    assert type(torch.zeros(1)) is torch.Tensor
    assert not torch.__future__.get_swap_module_params_on_conversion()
