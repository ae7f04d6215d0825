"""The four training-free methods, written out in another way, at sizes of no reference file."""

import math
from fractions import Fraction

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from cliptrase.dino import DinoFeatures, load_vit
from cliptrase.feedback import FeedbackRule
from cliptrase.neighbours import neighbourhood
from cliptrase.proxy import ProxyRule
from ovs_core.clip import ImageEncoder, PositionRule
from ovs_core.errors import UserError
from parity.cliptrase.training_free import model_of, proxy_model
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


def proxies(grid, count=2, width=7, seed=3):
    """Features of another network; a common part makes most cosines positive."""
    generator = torch.Generator().manual_seed(seed)
    own = torch.randn(count, width, *grid, generator=generator)
    return own + 0.8 * torch.randn(count, width, 1, 1, generator=generator)


def proxy_attention(features, beta, gamma):
    """Row by row, as the paper has it: softmax over what is at least the limit."""
    rows = []
    units = F.normalize(features.flatten(2), dim=1)
    for one in units:
        cosines = one.T @ one
        scores = gamma * (cosines - beta * cosines.mean())
        kept = [torch.where(row >= 0, row.exp(), torch.zeros(())) for row in scores]
        rows.append(torch.stack([row / row.sum() for row in kept]))
    return torch.stack(rows)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("onto", [(6, 6), (5, 9), (2, 3)])
@pytest.mark.parametrize(("beta", "gamma"), [(1.2, 3.0), (0.5, 7.0)])
def test_proxyclip(grid, onto, beta, gamma):
    clip, images, text = clip_of(3), pictures(grid), words()
    features = proxies(onto)
    _, _, _, _, v = streams(clip, images)
    weights = proxy_attention(features, beta, gamma)
    assert not weights.isnan().any() and weights.eq(0).any()
    mixed = []
    for values in v:
        maps = values[:, 1:].transpose(1, 2).reshape(2, -1, *grid)
        maps = F.interpolate(maps, size=onto, mode="bilinear", align_corners=False)
        mixed.append(weights @ maps.flatten(2).transpose(1, 2))
    expected = finished(clip, mixed)
    model = proxy_model(clip, text, lambda _: features, {"beta": beta, "gamma": gamma})
    dense = model.encode(images)
    assert dense.grid == onto and alike(dense.tokens, expected)
    units = F.normalize(expected, dim=-1)
    assert alike(model.score(dense), (units @ text.T).transpose(1, 2).unflatten(2, onto))


def test_lengths_of_proxy_features_do_not_count():
    features = proxies((4, 5))
    rule = ProxyRule()
    scaled = features * torch.rand(2, 1, 4, 5, generator=torch.Generator().manual_seed(0)).add(0.1)
    assert torch.allclose(rule.weights(features), rule.weights(scaled), atol=1e-6)
    alone = torch.cat([rule.weights(one[None]) for one in features])
    assert torch.allclose(rule.weights(features), alone, atol=1e-6)


def test_on_a_flat_window_a_cell_sees_itself():
    features = torch.ones(1, 7, 3, 4)
    assert torch.equal(ProxyRule().weights(features), torch.eye(12)[None])
    assert torch.allclose(ProxyRule().weights(0 * features), torch.full((1, 12, 12), 1 / 12))
    nearly = features + 1e-3 * torch.randn(1, 7, 3, 4, generator=torch.Generator().manual_seed(0))
    weights = ProxyRule().weights(nearly)
    assert torch.allclose(weights.sum(-1), torch.ones(1, 12)) and not weights.isnan().any()


def vit(**changes):
    torch.manual_seed(0)
    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
    options = {"num_classes": 0, "dynamic_img_size": True, **shape, **changes}
    model = timm.models.vision_transformer.VisionTransformer(**options).eval()
    torch.nn.init.normal_(model.pos_embed, std=0.5)
    return model


@pytest.mark.parametrize("registers", [0, 2])
@pytest.mark.parametrize("size", [(32, 32), (48, 24), (24, 56)])
def test_proxy_features_are_timms_own_where_the_table_is_fitted_alike(registers, size):
    """timm fits tables by size with antialias; DINO's own code adds 0.1 and smooths nothing."""
    clip, model = clip_of(1), vit(reg_tokens=registers, no_embed_class=registers > 0)
    network = DinoFeatures(model, clip, "size_antialias")
    pixels = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(4)) * 255
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.no_grad():
        tokens = model.forward_features((pixels / 255 - mean) / std)
        found = network(clip.normalize(pixels))
        plain = DinoFeatures(model, clip, "dino")(clip.normalize(pixels))
    grid = (size[0] // 8, size[1] // 8)
    assert found.shape == (2, 24, *grid)
    expected = tokens[:, 1 + registers :].transpose(1, 2).unflatten(2, grid)
    assert torch.allclose(found, expected, atol=1e-4)
    assert torch.allclose(found, plain, atol=1e-4) == (size == (32, 32))
    by_name = DinoFeatures(model, clip)
    assert (
        by_name.positions == (network if registers else DinoFeatures(model, clip, "dino")).positions
    )


def test_a_window_of_no_whole_patches_is_stretched():
    network = DinoFeatures(vit(), clip_of(1))
    images = torch.zeros(1, 3, 37, 3)
    assert network.image(images).shape == (1, 3, 40, 8)
    assert network(images).shape == (1, 24, 5, 1)


def test_the_other_network_is_loaded_by_name_and_file(tmp_path):
    drawn = load_vit("test_vit", "random", "cpu", group="X")
    again = load_vit("test_vit", "random", "cpu", group="X")
    assert torch.equal(drawn.patch_embed.proj.weight, again.patch_embed.proj.weight)
    file = tmp_path / "vit.safetensors"
    save_file({n: t.clone() + 1 for n, t in drawn.state_dict().items()}, file)
    loaded = load_vit("test_vit", str(file), "cpu", group="X")
    assert torch.equal(loaded.cls_token, drawn.cls_token + 1)
    for name, weights, message in (
        ("test_vitt", "random", "X.MODEL: timm has no ViT 'test_vitt'"),
        ("test_vit", "", "X.WEIGHTS is empty; give the path"),
        ("test_vit", "none.pth", "none.pth"),
        ("vit_tiny_patch16_224", str(file), "set X.MODEL to that of the weights"),
    ):
        with pytest.raises(UserError, match=message):
            load_vit(name, weights, "cpu", group="X")


def feedback_by_hand(labels, std, decay):
    """ResCLIP's agreement pair by pair, with exact positions on the line between two patches."""
    height, width = labels.shape
    cells = [(r, c) for r in range(height) for c in range(width)]
    longest = max(height, width) - 1
    agreed = torch.zeros(len(cells), len(cells))
    for i, (r, c) in enumerate(cells):
        for j, (s, d) in enumerate(cells):
            if labels[r, c] != labels[s, d]:
                continue
            apart = max(abs(r - s), abs(c - d))
            way = [
                (round(Fraction(r * (longest - n) + s * n, longest)),
                 round(Fraction(c * (longest - n) + d * n, longest)))
                for n in range(apart + 1)
            ]  # fmt: skip
            crossed = any(labels[cell] != labels[r, c] for cell in way)
            agreed[i, j] = math.exp(-apart / longest) if decay and crossed else 1
    length = min(len(cells), int(6 * std + 1))
    half = (length + 1 - length % 2) // 2
    bell = [math.exp(-(u**2) / (2 * std**2)) for u in range(-half, half + 1)]
    smooth = torch.zeros_like(agreed)
    for u, weight in zip(range(-half, half + 1), bell, strict=True):
        for j in range(len(cells)):
            if 0 <= j + u < len(cells):
                smooth[:, j] += weight / sum(bell) * agreed[:, j + u]
    return F.pad(smooth / (smooth.sum(1, keepdim=True) + 1e-8), (1, 0, 1, 0))


@pytest.mark.parametrize("grid", [(3, 3), (7, 4), (1, 6), (5, 9)])
@pytest.mark.parametrize("decay", [False, True])
@pytest.mark.parametrize("std", [0.4, 1.0, 5.0])
def test_resclips_agreement(grid, decay, std):
    draw = torch.Generator().manual_seed(sum(grid))
    labels = torch.randint(0, 2, (2, *grid), generator=draw)
    found = FeedbackRule(decay=decay, std=std).agreement(labels)
    for one, own in zip(found, labels, strict=True):
        assert torch.allclose(one, feedback_by_hand(own, std, decay), atol=1e-6)


def test_one_patch_agrees_with_itself():
    assert FeedbackRule().agreement(torch.zeros(1, 1, 1, dtype=torch.long))[0, 1, 1] == 1


def test_patches_take_their_most_frequent_word_and_the_smallest_on_a_tie():
    words = torch.tensor([[[2, 2, 1, 1, 2], [1, 1, 2, 0, 2], [0, 0, 0, 0, 0]]])
    likely = F.one_hot(words, 3).permute(0, 3, 1, 2) * 0.9
    rule = FeedbackRule(threshold=0.5)
    assert rule.patch_labels(likely, (2, 2)).tolist() == [[[1, 1]]]  # the rest is left over
    assert rule.patch_labels(likely * 0.5, (2, 2)).tolist() == [[[0, 0]]]  # unsure: word 0


def earlier_attention(clip, images, layers):
    """Ordinary attention of some blocks: a list over heads of (B, L, L)."""
    encoder = ImageEncoder(clip.visual, positions=PositionRule(offset=0.1, keep_same_count=True))
    tokens, _ = encoder.embed(images)
    maps = []
    for index, block in enumerate(clip.visual.transformer.resblocks):
        attn = block.attn
        mixed = F.linear(block.ln_1(tokens), attn.in_proj_weight, attn.in_proj_bias)
        q, k, _ = (part.chunk(attn.num_heads, dim=-1) for part in mixed.chunk(3, dim=-1))
        if index in layers:
            maps.append([softmax_of(a, b) for a, b in zip(q, k, strict=True)])
        tokens = block(tokens)
    return [sum(own) / len(layers) for own in zip(*maps, strict=True)]


@pytest.mark.parametrize("grid", [(3, 3), (7, 4)])
@pytest.mark.parametrize("base", ["resclip", "clearclip", "sclip", "vanilla"])
@pytest.mark.parametrize("layers", [[], [1, 2]])
@pytest.mark.parametrize("whole", [False, True])
def test_resclip(grid, base, layers, whole):
    clip, images = clip_of(2, layers=4), pictures(grid)
    tokens, _, q, k, v = streams(clip, images)
    generator = torch.Generator().manual_seed(5)
    agreed = torch.rand(2, 1 + grid[0] * grid[1], 1 + grid[0] * grid[1], generator=generator)
    pairs = {"resclip": [(k, k)], "clearclip": [(q, q)], "sclip": [(q, q), (k, k)],
             "vanilla": [(q, k)]}[base]  # fmt: skip
    omega = gaussian(grid, 2.0) if base == "resclip" else 0.0
    earlier = earlier_attention(clip, images, layers) if layers else None
    for given in (None, agreed):
        heads = []
        for head, values in enumerate(v):
            weights = 0
            for one, other in pairs:
                scores = one[head] @ other[head].transpose(1, 2) * 12**-0.5
                if given is not None:
                    scores = 1.8 * (0.3 * scores + 0.7 * given)
                weights = weights + torch.softmax(scores + omega, dim=-1)
            if earlier is not None:
                weights = 2.0 * (0.6 * weights + 0.4 * earlier[head])
                total = 2.0 * (0.6 * len(pairs) + 0.4)
                assert torch.allclose(weights.sum(-1), torch.tensor(total))
            heads.append(weights @ values)
        expected = finished(clip, heads, tokens if whole else None)
        model = model_of(
            "resclip", clip, words(), BASE=base, STD=2.0, RESIDUAL=whole, RCS=bool(layers),
            LAYERS=layers or [1], RCS_WEIGHTS=[2.0, 0.4], SFR_WEIGHTS=[1.8, 0.7],
        )  # fmt: skip
        dense = model.encode(images)
        assert alike(model.tower.finish(dense.unfinished, dense.grid, given), expected)
        if given is None:
            assert alike(dense.tokens, expected)


def test_resclip_without_additions_is_naclip():
    clip, images, text = clip_of(2), pictures((4, 5)), words()
    plain = model_of("naclip", clip, text, STD=3.0)
    bare = model_of("resclip", clip, text, RCS=False, SFR=False, LAYERS=[0], STD=3.0)
    assert alike(bare.score(bare.encode(images)), plain.score(plain.encode(images)))


def test_resclip_does_not_depend_on_the_batch():
    clip, images = clip_of(2, layers=4), pictures((4, 5), count=3)
    model = model_of("resclip", clip, words(), LAYERS=[0, 1], TEMP_THD=0.3)
    dense = model.encode(images)
    together = model.score(dense)
    alone = torch.cat([model.score(model.encode(one[None])) for one in images])
    rows = torch.cat([model.score(dense.one(row)) for row in range(3)])
    assert torch.allclose(together, alone, atol=1e-5)
    assert torch.allclose(together, rows, atol=1e-5)


def test_layers_of_resclip_must_exist():
    with pytest.raises(UserError, match="layer 5 does not exist; the tower has 4 blocks"):
        model_of("resclip", clip_of(1, layers=4), words())
    with pytest.raises(UserError, match="RESCLIP.LAYERS .* the last of 4 blocks cannot be mixed"):
        model_of("resclip", clip_of(1, layers=4), words(), LAYERS=[-1])


def test_a_remainder_does_not_move_the_patches():
    """45 x 19 pixels are 5 x 2 patches of 8: more than half a patch is left over."""
    clip = clip_of(2, layers=4, patch=8, side=32)
    images = torch.randn(1, 3, 45, 19, generator=torch.Generator().manual_seed(0))
    keys = {"LAYERS": [0, 1], "TEMP_THD": 0.0, "SFR_WEIGHTS": [1.0, 0.9]}
    model = model_of("resclip", clip, words(), **keys)
    logits = model.score(model.encode(images))
    assert logits.shape == (1, 3, 5, 2) and not logits.isnan().any()
    probabilities = torch.zeros(1, 3, 45, 19)
    probabilities[:, 1, 40:], probabilities[:, 2, :40] = 1, 1
    assert FeedbackRule().patch_labels(probabilities, (8, 8)).eq(2).all()
