"""The chunked losses against their definitions at full size."""

import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from ovs_core.errors import UserError
from ovs_core.modeling import losses
from ovs_core.modeling.losses import MaskLoss, dice_loss, enlarge, present_classes
from ovs_core.modeling.ssim import empty_ssim_map, ssim_map, upsampled_empty_ssim_map


@pytest.fixture
def batch():
    torch.manual_seed(0)
    logits = 3 * torch.randn(2, 7, 6, 5)
    labels = torch.randint(0, 3, (2, 24, 31))
    labels[0, :5] = 255
    labels[1, 7:9] = -1
    return logits, labels


def by_definition(logits, labels, **weights):
    """Focal, dice and SSIM from one-hot masks of all classes."""
    maps = F.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
    masks = torch.stack([labels == k for k in range(logits.shape[1])], dim=1).float()
    present = masks.flatten(2).any(-1)
    pairs = present.sum().clamp(min=1)
    focal = sigmoid_focal_loss(maps, masks, 0.25, 2.0).mean(dim=(2, 3)).sum() / pairs
    dice = dice_loss(maps[present], masks[present]).sum() / pairs
    ssim = 1 - ssim_map(maps.flatten(0, 1), masks.flatten(0, 1)).mean()
    terms = {"loss_focal": focal, "loss_dice": dice, "loss_ssim": ssim}
    return {name: weights.get(name, 1.0) * value for name, value in terms.items()}


@pytest.mark.parametrize("maps_per_chunk", [1, 4, 100])
def test_values_and_gradients_are_those_of_the_definition(batch, monkeypatch, maps_per_chunk):
    logits, labels = batch
    monkeypatch.setitem(losses.CHUNK_BYTES, "cpu", 4 * labels[0].numel() * maps_per_chunk)
    weights = {"loss_focal": 100.0, "loss_dice": 2.0, "loss_ssim": 3.0}
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    found = MaskLoss(focal=100, dice=2, ssim=3)(ours, labels)
    expected = by_definition(theirs, labels, **weights)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)
        (mine,) = torch.autograd.grad(found[name], ours, retain_graph=True)
        (reference,) = torch.autograd.grad(value, theirs, retain_graph=True)
        torch.testing.assert_close(
            mine, reference, rtol=1e-4, atol=1e-5 * float(reference.abs().max())
        )


def test_a_weight_of_zero_skips_the_term(batch):
    assert set(MaskLoss(focal=1, dice=0, ssim=0)(*batch)) == {"loss_focal"}


def test_nothing_labelled_gives_finite_losses_and_no_dice(batch):
    logits, labels = batch
    logits.requires_grad_()
    found = MaskLoss(focal=100, dice=1, ssim=1)(logits, torch.full_like(labels, 255))
    sum(found.values()).backward()
    assert all(torch.isfinite(v) for v in found.values())
    assert found["loss_dice"] == 0
    assert torch.isfinite(logits.grad).all()


def test_unnamed_pixels_can_be_left_out_of_the_focal_mean(batch):
    logits, labels = batch
    maps = enlarge(logits.flatten(0, 1), tuple(labels.shape[-2:])).unflatten(0, (2, 7))
    named = (labels >= 0) & (labels < 7)
    expected = 0.0
    for picture in range(2):
        masks = F.one_hot(labels[picture][named[picture]], 7).float()
        values = sigmoid_focal_loss(maps[picture].movedim(0, -1)[named[picture]], masks, 0.25, 2.0)
        expected = expected + values.mean(dim=0).sum()
    pairs = present_classes(labels, 7).sum()
    found = MaskLoss(focal=1, dice=0, skip_unnamed=True)(logits, labels)["loss_focal"]
    torch.testing.assert_close(found, expected / pairs)


def test_ssim_on_probabilities_differs_and_follows_the_definition(batch):
    logits, labels = batch
    maps = F.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
    masks = torch.stack([labels == k for k in range(7)], dim=1).float()
    expected = 1 - ssim_map(maps.sigmoid().flatten(0, 1), masks.flatten(0, 1)).mean()
    found = MaskLoss(focal=0, dice=0, ssim=1, ssim_on="sigmoid")(logits, labels)["loss_ssim"]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "grid, size", [((4, 4), (64, 64)), ((3, 7), (20, 31)), ((9, 8), (5, 6)), ((2, 1), (11, 4))]
)
def test_ssim_of_enlarged_grids_needs_no_enlargement(grid, size):
    torch.manual_seed(1)
    grids = torch.randn(3, *grid)
    maps = F.interpolate(grids[None], size=size, mode="bilinear", align_corners=False)[0]
    found = upsampled_empty_ssim_map(grids, size)
    torch.testing.assert_close(found, empty_ssim_map(maps), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found, ssim_map(maps, torch.zeros_like(maps)), rtol=1e-4, atol=1e-6)


def test_ssim_of_a_mask_with_itself_is_one():
    mask = (torch.rand(2, 20, 20, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    torch.testing.assert_close(ssim_map(mask, mask), torch.ones_like(mask))


def test_half_precision_logits_are_computed_in_float(batch):
    logits, labels = batch
    half = logits.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = MaskLoss(ssim=1)(half, labels)
    expected = MaskLoss(ssim=1)(half.float(), labels)
    for name, value in expected.items():
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], value)


def test_unknown_ssim_input():
    with pytest.raises(UserError, match="SSIM_ON: 'softmax'"):
        MaskLoss(ssim_on="softmax")
