"""ClearCLIP and NACLIP, written out again in another way, at sizes of no reference file."""

import pytest
import torch
from torch.nn import functional as F

from cliptrase.neighbours import neighbourhood
from ovs_core.clip import ImageEncoder, PositionRule
from ovs_core.errors import UserError
from parity.cliptrase.training_free import model_of
from tests.miniatures.clips import random_clip

GRIDS = [(3, 3), (7, 4), (1, 6), (5, 11)]


def clip_of(heads, *, layers=2, patch=4, side=16, seed=0):
    """A CLIP whose attention is peaked, so that methods differ."""
    vision = {
        "layers": layers,
        "width": 4 * 3 * heads,
        "head_width": 12,
        "patch_size": patch,
        "image_size": side,
    }
    clip = random_clip(embed_dim=10, vision=vision, text_layers=1, seed=seed)
    for block in clip.visual.transformer.resblocks:
        block.attn.in_proj_weight.data *= 4
    return clip


def pictures(grid, patch=4, count=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, grid[0] * patch, grid[1] * patch, generator=generator)


def words(count=3, width=10):
    generator = torch.Generator().manual_seed(2)
    return F.normalize(torch.randn(count, width, generator=generator), dim=-1)


def streams(clip, images):
    """Input of the last block, its grid, and queries, keys and values head by head (B, L, d)."""
    encoder = ImageEncoder(clip.visual, positions=PositionRule(offset=0.1, keep_same_count=True))
    tokens, grid = encoder.embed(images)
    *others, last = clip.visual.transformer.resblocks
    for block in others:
        tokens = block(tokens)
    attn = last.attn
    mixed = F.linear(last.ln_1(tokens), attn.in_proj_weight, attn.in_proj_bias)
    q, k, v = (part.chunk(attn.num_heads, dim=-1) for part in mixed.chunk(3, dim=-1))
    return tokens, grid, q, k, v


def finished(clip, heads, tokens=None):
    """(B, L, D) from the heads' outputs; with tokens the residual and the MLP are kept."""
    last = clip.visual.transformer.resblocks[-1]
    x = last.attn.out_proj(torch.cat(heads, dim=-1))
    if tokens is not None:
        x = tokens + x
        x = x + last.mlp(last.ln_2(x))
    return clip.visual.ln_post(x) @ clip.visual.proj


def cosines(tokens, text, grid):
    patches = tokens[:, 1:] / tokens[:, 1:].norm(dim=-1, keepdim=True)
    return (patches @ text.T).transpose(1, 2).reshape(len(tokens), -1, *grid)


def alike(one, other):
    return torch.allclose(one, other, atol=2e-5, rtol=1e-4)


def softmax_of(x, y, bias=0.0):
    return torch.softmax(x @ y.transpose(1, 2) * x.shape[-1] ** -0.5 + bias, dim=-1)


def gaussian(grid, std):
    """Pair by pair, as the formula stands."""
    cells = [(r, c) for r in range(grid[0]) for c in range(grid[1])]
    table = torch.zeros(len(cells) + 1, len(cells) + 1)
    for i, (r, c) in enumerate(cells, 1):
        for j, (s, d) in enumerate(cells, 1):
            distance = torch.tensor(float((r - s) ** 2 + (c - d) ** 2))
            table[i, j] = torch.exp(-distance / (2 * std**2))
    return table


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("residual", [False, True])
def test_clearclip(grid, heads, residual):
    clip, images, text = clip_of(heads), pictures(grid), words()
    tokens, _, q, _, v = streams(clip, images)
    expected = finished(
        clip,
        [softmax_of(a, a) @ b for a, b in zip(q, v, strict=True)],
        tokens if residual else None,
    )
    model = model_of("clearclip", clip, text, RESIDUAL=residual)
    dense = model.encode(images)
    assert dense.grid == grid and alike(dense.tokens, expected)
    assert alike(model.score(dense), cosines(expected, text, grid))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("std", [0.7, 5.0])
@pytest.mark.parametrize("heads", [1, 3])
def test_naclip(grid, std, heads):
    clip, images, text = clip_of(heads), pictures(grid), words()
    _, _, _, k, v = streams(clip, images)
    omega = gaussian(grid, std)
    assert torch.allclose(neighbourhood(grid, std, like=images), omega, atol=1e-6)
    expected = finished(clip, [softmax_of(a, a, omega) @ b for a, b in zip(k, v, strict=True)])
    model = model_of("naclip", clip, text, STD=std)
    assert alike(model.encode(images).tokens, expected)


@pytest.mark.parametrize("heads", [1, 3])
def test_the_gaussian_alone_is_scaled_picture_by_picture(heads):
    clip, images, grid = clip_of(heads), pictures((4, 6), count=3), (4, 6)
    _, _, q, k, v = streams(clip, images)
    pairs = [
        (a.norm(dim=-1)[:, :, None] * b.norm(dim=-1)[:, None]) * 12**-0.5
        for a, b in zip(q, k, strict=True)
    ]
    level = torch.stack(pairs).mean(dim=(0, 2, 3))
    weights = torch.softmax(level[:, None, None] * gaussian(grid, 2.0), dim=-1)
    expected = finished(clip, [weights @ b for b in v])
    model = model_of("naclip", clip, words(), ATTENTION="nonly", STD=2.0)
    assert alike(model.encode(images).tokens, expected)


def test_rows_of_the_gaussian_do_not_depend_on_the_picture_and_stand_at_height_one():
    table = neighbourhood((5, 3), 5.0, like=torch.zeros(1))
    assert torch.equal(table, table.T)
    assert torch.equal(table.diagonal()[1:], torch.ones(15))
    assert table[0].eq(0).all() and table[:, 0].eq(0).all()


@pytest.mark.parametrize("method", ["clearclip", "naclip"])
def test_the_residual_matters_even_though_features_are_normalised(method):
    """Without it, the bias of the output projection makes the length of the values count."""
    clip, images = clip_of(2), pictures((4, 4))
    kept, dropped = (
        model_of(method, clip, words(), RESIDUAL=r).encode(images).tokens for r in (True, False)
    )
    assert not torch.allclose(kept, dropped, atol=1e-2)


@pytest.mark.parametrize("method", ["clearclip", "naclip"])
def test_the_result_does_not_depend_on_the_batch(method):
    clip, images = clip_of(2), pictures((4, 5), count=3)
    model = model_of(method, clip, words())
    together = model.score(model.encode(images))
    alone = torch.cat([model.score(model.encode(one[None])) for one in images])
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("method", ["clearclip", "naclip"])
def test_an_unknown_attention_is_named(method):
    with pytest.raises(UserError, match=f"{method.upper()}.ATTENTION: 'vanila'.*'vanilla'"):
        model_of(method, clip_of(1), words(), ATTENTION="vanila")
