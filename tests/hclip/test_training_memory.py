"""What a training step keeps, and that its gradients are those of keeping all."""

from collections import Counter

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from hclip import HCLIP
from hclip.losses import LOSSES
from ovs_core.modeling import cost_aggregation
from ovs_core.modeling.cost_cells import cell_linear
from ovs_core.modeling.cost_upsampling import UpsampleStage
from ovs_core.words.label_space import IGNORE

WAYS = {"chunks": {"chunk": 2}, "at once": {"chunk": 0}, "all": {"chunk": 2, "checkpointing": True}}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_gradients_are_those_of_keeping_everything(tiny, way, monkeypatch):
    ours = gradients(tiny, **way)
    monkeypatch.setattr(cost_aggregation, "recomputed", lambda run, x, **_: run(x))
    plain = gradients(tiny, chunk=0)
    assert ours.keys() == plain.keys()
    size = torch.cat([one.flatten() for one in plain.values()]).norm()
    off = torch.cat([(ours[name] - plain[name]).flatten() for name in plain]).norm()
    assert off < 1e-5 * size


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_step_in_half_precision(tiny, way, dtype):
    whole, half = gradients(tiny, **way), gradients(tiny, dtype, **way)
    assert half.keys() == whole.keys()
    ours, expected = (torch.cat([g.flatten() for g in of.values()]) for of in (half, whole))
    assert F.cosine_similarity(ours, expected, dim=0) > 0.98


def gradients(tiny, dtype=None, **settings):
    model = tiny.perturb(tiny.model(cls=HCLIP, decoder=tiny.decoder(**settings))).train()
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        loss = model.losses(tiny.batch())["loss_sem_seg"]
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("checkpointing", "convolved"), [(False, 1), (True, 2)])
def test_activations_are_computed_again_but_convolutions_are_not(tiny, checkpointing, convolved):
    settings = tiny.decoder(chunk=0, checkpointing=checkpointing)
    model = tiny.model(cls=HCLIP, decoder=settings).train()
    stages = len(model.decoder.stages)
    with Count() as count:
        loss = model.losses(tiny.batch())["loss_sem_seg"]
        forward = count.norms
        loss.backward()
    assert forward == 2 * stages
    assert count.norms == 2 * forward
    assert count.convolved == convolved * stages


class Count(TorchDispatchMode):
    """Count group norms, and the convolutions that give as many channels as they take."""

    def __init__(self):
        super().__init__()
        self.seen = Counter()

    @property
    def norms(self):
        return self.seen["native_group_norm"]

    @property
    def convolved(self):
        return self.seen["convolution"]

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        name = operator.overloadpacket.__name__
        weight = args[1].shape if name == "convolution" else ()
        if not weight or (weight[0] == weight[1] and weight[-1] == 3):  # a stage's second one
            self.seen[name] += 1
        return operator(*args, **(kwargs or {}))


@pytest.mark.parametrize("biased", [True, False])
def test_the_gradients_of_a_linear_layer_of_cells(biased):
    x, weight = torch.randn(3, 16, 6), torch.randn(5, 6)
    inputs = [x, weight, torch.randn(5)] if biased else [x, weight]
    inputs = [one.requires_grad_() for one in inputs]
    ours = torch.autograd.grad(cell_linear(*inputs).square().sum(), inputs)
    expected = torch.autograd.grad(F.linear(*inputs).square().sum(), inputs)
    torch.testing.assert_close(ours, expected)


def test_a_linear_layer_of_cells_under_autocast():
    x, weight = torch.randn(3, 16, 6), torch.randn(5, 6)
    results = []
    for run in (cell_linear, F.linear):
        inputs = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
        with torch.autocast("cpu", torch.bfloat16):
            result = run(*inputs)
        results.append((result, *torch.autograd.grad(result.float().sum(), inputs)))
    assert results[0][0].dtype == torch.bfloat16
    torch.testing.assert_close(*results)


def test_doubling_is_the_transposed_convolution():
    stage = UpsampleStage(32, 16, 8)
    maps = torch.randn(3, 32, 4, 5)
    torch.testing.assert_close(stage._double(maps), stage.up(maps))


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_are_those_of_resized_logits(loss):
    logits = torch.randn(2, 11, 4, 4, requires_grad=True)
    targets = torch.randint(0, 11, (2, 9, 7))
    targets[:, :2] = IGNORE
    whole = F.interpolate(logits, size=(9, 7), mode="bilinear")
    if loss == "ce":
        expected = F.cross_entropy(whole, targets, ignore_index=IGNORE)
    else:
        own = F.one_hot(targets.where(targets != IGNORE, 11), 12)[..., :11].movedim(-1, 1)
        expected = F.binary_cross_entropy_with_logits(whole, own.float())
    ours = LOSSES[loss](logits, targets)
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(*(torch.autograd.grad(x, logits) for x in (ours, expected)))


def test_prompts_of_similar_length_go_together(tiny):
    model = tiny.model("full").train()
    prompts = [f"a {'very ' * n}big cat" for n in (3, 0, 5, 1)]
    encoder, parameter = model.text_encoder, model.clip.model.token_embedding.weight
    parameter.requires_grad_()
    tokens = encoder.tokenize(prompts)
    for features in (encoder.in_groups(tokens, size=3), encoder(tokens)):
        torch.testing.assert_close(features, encoder(tokens))
        (gradient,) = torch.autograd.grad(features.square().sum(), parameter)
        expected = torch.autograd.grad(encoder(tokens).square().sum(), parameter)[0]
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)
