"""Identities of the parts that the reference vectors do not cover."""

import pytest
import torch
from torch.nn import functional as F

from ovs_core.errors import UserError
from ovs_core.modeling.losses import enlarge
from ovs_core.modeling.scores import WindowScores
from sptseg import window_scores
from sptseg.decoder import CrossAttention, DecoderLayer, MaskDecoder, SpectralGuidedAttention
from sptseg.hilo import HighLowAttention
from sptseg.prompts import VisualPrompts
from sptseg.spectral import SpectralFilter
from sptseg.window_scores import ProbabilityWindows

KINDS = ("cross", "spectral")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def make_decoder(kind, dim=32, layers=3, **start):
    def layer():
        if kind == "cross":
            attention = CrossAttention(dim, heads=4, dropout=0.0)
        else:
            attention = SpectralGuidedAttention(dim, mixer=HighLowAttention(dim), dropout=0.0)
        return DecoderLayer(attention, dim=dim, feedforward=64, dropout=0.0)

    return MaskDecoder(dim, layer, layers=layers, **start).eval()


def set_filter(spectral, real):
    with torch.no_grad():
        spectral.weight.zero_()
        spectral.weight[..., 0] = real


@pytest.mark.parametrize("grid", [(6, 6), (5, 7), (7, 5), (4, 9), (1, 3)])
def test_filter_of_one_returns_the_product_and_constants_scale_it(grid):
    spectral = SpectralFilter(grid, 4)
    patches, cls = torch.randn(2, grid[0] * grid[1], 4), torch.randn(2, 1, 4)
    set_filter(spectral, 1.0)
    torch.testing.assert_close(spectral(patches, cls, grid), patches * cls)
    set_filter(spectral, -2.5)
    torch.testing.assert_close(spectral(patches, cls, grid), -2.5 * patches * cls)
    set_filter(spectral, 0.0)
    assert spectral(patches, cls, grid).abs().max() == 0


def test_filter_matches_irfft2_bit_for_bit_and_works_in_half_precision():
    grid, spectral = (8, 8), SpectralFilter((8, 8), 6, std=1.0)
    patches, cls = torch.randn(2, 64, 6), torch.randn(2, 1, 6)
    spectrum = torch.fft.rfft2((patches * cls).unflatten(1, grid), dim=(1, 2), norm="ortho")
    spectrum = spectrum * torch.view_as_complex(spectral.weight)
    direct = torch.fft.irfft2(spectrum, s=grid, dim=(1, 2), norm="ortho").flatten(1, 2)
    assert torch.equal(spectral(patches, cls, grid), direct)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = spectral(patches.bfloat16(), cls.bfloat16(), grid)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), direct, rtol=0.05, atol=0.05)


def test_filter_refuses_another_grid():
    with pytest.raises(UserError, match="grid of 8 x 8 patches, but the picture gives 8 x 9"):
        SpectralFilter((8, 8), 4)(torch.randn(1, 72, 4), torch.randn(1, 1, 4), (8, 9))


def test_prompt_rows_are_replaced_dropped_or_carried_along():
    deep = VisualPrompts(tokens=2, depth=1, width=8, patch_size=(4, 4), dropout=0.0)
    tokens = torch.randn(1, 5, 8)
    first = deep.edit(0, tokens, 4)
    assert first.shape == (1, 7, 8)
    second = deep.edit(1, first, 4)
    assert second.shape == (1, 7, 8) and not torch.equal(second[:, 1:3], first[:, 1:3])
    third = deep.edit(2, second, 4)
    assert torch.equal(third, tokens) and torch.equal(deep.edit(3, third, 4), tokens)
    shallow = VisualPrompts(tokens=2, depth=0, width=8, patch_size=(4, 4))
    first = shallow.eval().edit(0, tokens, 4)
    assert torch.equal(shallow.edit(1, first, 4), first)
    assert isinstance(shallow.norm, torch.nn.Identity)


def test_each_picture_draws_its_own_prompt_dropout():
    prompts = VisualPrompts(tokens=4, depth=0, width=64, patch_size=(4, 4), dropout=0.5)
    rows = prompts.edit(0, torch.zeros(2, 5, 64), 4)[:, 1:5]
    assert not torch.equal(rows[0], rows[1])


@pytest.mark.parametrize("kind", KINDS)
def test_classes_do_not_see_each_other(kind):
    decoder = make_decoder(kind)
    cls, patches = torch.randn(1, 32), torch.randn(1, 32, 4, 5)
    text = torch.randn(6, 32)
    memories = decoder.memories(patches)
    whole = decoder(cls, memories, text)
    order = torch.tensor([4, 0, 5, 2])
    torch.testing.assert_close(decoder(cls, memories, text[order]), whole[:, order])


@pytest.mark.parametrize("kind", KINDS)
def test_layers_start_as_copies_and_the_last_update_gets_no_gradient(kind):
    decoder = make_decoder(kind)
    first, last = decoder.layers[0].state_dict(), decoder.layers[2].state_dict()
    assert all(torch.equal(first[name], last[name]) for name in first)
    memories = decoder.memories(torch.randn(1, 32, 4, 4))
    decoder(torch.randn(1, 32), memories, torch.randn(3, 32)).square().sum().backward()
    assert decoder.layers[0].expand.weight.grad is not None
    assert decoder.layers[2].expand.weight.grad is None


def test_a_closed_gate_gives_zero_logits_for_every_class():
    decoder = make_decoder("spectral", layers=1)
    attention = decoder.layers[0].attention
    patches = torch.randn(1, 32, 3, 3)
    mixed = attention.mixer(patches.flatten(2).transpose(1, 2), (3, 3))
    with torch.no_grad():
        attention.gate.copy_(-mixed[0, 4])
    memory = attention.memory(patches.flatten(2).transpose(1, 2), (3, 3))
    assert attention.logits(torch.randn(1, 5, 32), memory)[..., 4].abs().max() == 0


@pytest.mark.parametrize(
    "alpha, high, expected",
    [(0.9, False, (1, 7)), (0.9, True, (7, 1)), (0.0, False, (8, 0)), (1.0, False, (0, 8))],
)
def test_heads_are_shared_out_as_asked(alpha, high, expected):
    mixer = HighLowAttention(32, alpha=alpha, alpha_is_high=high)
    assert (mixer.high_heads, mixer.low_heads) == expected
    assert mixer(torch.randn(2, 20, 32), (4, 5)).shape == (2, 20, 32)


def test_high_branch_stays_inside_its_windows():
    mixer = HighLowAttention(16, alpha=0.0, heads=4)
    patches = torch.randn(1, 36, 16)
    moved = patches.clone()
    moved[0, 0] += 1.0  # first cell of the first window
    changed = (mixer(moved, (6, 6)) - mixer(patches, (6, 6))).abs().sum(-1).view(6, 6) > 0
    assert changed[:3, :3].all() and not changed[3:].any() and not changed[:, 3:].any()


def test_high_projection_is_a_switch():
    plain, projected = HighLowAttention(32), HighLowAttention(32, high_projection=True)
    added = set(projected.state_dict()) - set(plain.state_dict())
    assert added == {"high_project.weight", "high_project.bias"}


@pytest.mark.parametrize("grid", [(2, 5), (1, 1)])
def test_a_grid_smaller_than_a_window_is_padded_to_one(grid):
    """As released: zeros below and right, which take part in windows and averages."""
    torch.manual_seed(0)
    mixer = HighLowAttention(32)
    patches = torch.randn(2, grid[0] * grid[1], 32)
    whole = tuple(side + -side % 3 for side in grid)
    padded = F.pad(patches.unflatten(1, grid), (0, 0, 0, whole[1] - grid[1], 0, whole[0] - grid[0]))
    wanted = mixer(padded.flatten(1, 2), whole).unflatten(1, whole)[:, : grid[0], : grid[1]]
    torch.testing.assert_close(mixer(patches, grid), wanted.flatten(1, 2))


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(UserError, match="8 heads must divide the joint width 30"):
        HighLowAttention(30)


@pytest.mark.parametrize("kind", KINDS)
def test_masks_that_start_as_clip_compare_words_with_patches(kind):
    decoder = make_decoder(kind, init="clip", scale=3.0, bias=-6.0)
    # Attention over patches that are alike gives these back; the grid is one of whole windows.
    patches = F.normalize(torch.randn(2, 32, 1, 1), dim=1).expand(2, 32, 6, 6)
    for attention in decoder.gates():
        tokens = patches[:1].flatten(2).transpose(1, 2)
        attention.open_gate(attention.mixed_means(tokens, (6, 6))[0])
    cls, text = torch.randn(2, 32), F.normalize(torch.randn(5, 32), dim=-1)
    found = decoder(cls, decoder.memories(patches), text)
    words = F.layer_norm(F.layer_norm(text, (32,)), (32,))
    expected = 3.0 * words @ patches[:, :, 0, 0].T - 6.0  # (K, B), the same at every patch
    torch.testing.assert_close(found[0], expected[:, :1].expand(5, 36), rtol=1e-4, atol=1e-3)
    if kind == "cross":
        torch.testing.assert_close(found[1], expected[:, 1:].expand(5, 36), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_that_takes_part_learns_from_the_start_as_clip(kind):
    decoder = make_decoder(kind, init="clip", scale=3.0, bias=-6.0)
    patches, text = F.normalize(torch.randn(2, 32, 6, 6), dim=1), torch.randn(5, 32)
    for attention in decoder.gates():
        tokens = patches.flatten(2).transpose(1, 2)
        attention.open_gate(attention.mixed_means(tokens, (6, 6)).mean(dim=0))
    decoder(torch.randn(2, 32), decoder.memories(patches), text).square().sum().backward()
    assert decoder.affine.grad.abs().min() > 0
    for layer in decoder.layers[:-1]:
        assert layer.attention.project.weight.grad.any() and layer.reduce.weight.grad.any()


@pytest.mark.parametrize("kind", ["smooth", "alike", "few values"])
@pytest.mark.parametrize("bias", [0.0, 0.1])
def test_masks_that_win_nowhere_are_not_enlarged(kind, bias, monkeypatch):
    torch.manual_seed(3)
    grids = torch.nn.functional.interpolate(torch.randn(1, 60, 5, 5) * 3, size=(16, 16))[0]
    grids[40:] -= 20  # these win nowhere
    if kind == "alike":
        grids[1:9] = grids[:1] + 1e-7 * torch.randn(8, 16, 16)
    if kind == "few values":
        grids = grids.round()
    size, seen = (192, 160), torch.arange(60) < 45
    windows = WindowScores(grids[None], [(0, 0, *size)], size, size)
    scores, enlarged = ProbabilityWindows(windows, seen, bias), []

    def counted(maps, wanted):
        enlarged.append(len(maps))
        return enlarge(maps, wanted)

    monkeypatch.setattr(window_scores, "enlarge", counted)
    labels = scores.labels()
    assert sum(enlarged) <= 40 + 15
    monkeypatch.setattr(window_scores, "contenders", lambda *_: None)
    assert torch.equal(labels, scores.labels())
