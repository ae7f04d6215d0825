"""Mask2Former's parts against other forms of the same computation."""

import pytest
import torch
from torch.nn import functional as F

from ovs_core.modeling.mask2former import (
    HeadOutput,
    MaskedAttentionDecoder,
    MaskScores,
    MaskTargets,
    Matcher,
    PixelDecoder,
    SetCriterion,
    class_scores,
    deformable_sampling,
    mask_candidates,
    mask_pool,
)
from ovs_core.modeling.mask2former.mask_candidates import best_column

SIZES = [(2, 3), (4, 6), (5, 7)]


def sampled_by_grid_sample(value, sizes, locations, weights):
    """The usual form: one ``grid_sample`` per level, all samples kept."""
    batch, _, heads, channels = value.shape
    queries = locations.shape[1]
    out = 0
    for level, (maps, (h, w)) in enumerate(
        zip(value.split([h * w for h, w in sizes], dim=1), sizes, strict=True)
    ):
        maps = maps.permute(0, 2, 3, 1).reshape(batch * heads, channels, h, w)
        grid = 2 * locations[:, :, :, level].transpose(1, 2).flatten(0, 1) - 1
        samples = F.grid_sample(maps, grid, align_corners=False)
        weight = weights[:, :, :, level].transpose(1, 2).reshape(batch * heads, 1, queries, -1)
        out = out + (samples * weight).sum(-1)
    return out.view(batch, heads * channels, queries).transpose(1, 2)


def test_deformable_sampling_equals_grid_sample_with_gradients():
    torch.manual_seed(0)
    length = sum(h * w for h, w in SIZES)
    value = torch.randn(2, length, 2, 4, dtype=torch.float64, requires_grad=True)
    locations = (torch.rand(2, 9, 2, 3, 2, 2, dtype=torch.float64) * 1.6 - 0.3).requires_grad_()
    weights = torch.rand(2, 9, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    results = []
    for form in (deformable_sampling, sampled_by_grid_sample):
        out = form(value, SIZES, locations, weights)
        results.append((out, *torch.autograd.grad(out.sin().sum(), (value, locations, weights))))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_far_away_points_give_nothing():
    value = torch.ones(1, 6, 1, 4)
    far = torch.tensor([1e9, -1e9]).expand(1, 1, 1, 1, 1, 2)
    assert not deformable_sampling(value, [(2, 3)], far, torch.ones(1, 1, 1, 1, 1)).any()


def test_parameter_counts_are_the_published_ones():
    channels = dict(zip(("res2", "res3", "res4", "res5"), (128, 256, 512, 1024), strict=True))
    count = sum(p.numel() for p in PixelDecoder(channels).parameters())
    assert count == 5_544_384
    count = sum(p.numel() for p in MaskedAttentionDecoder(embed_dim=640).parameters())
    assert count == 14_820_993


def test_the_auxiliary_heads_do_not_change_the_last_one():
    torch.manual_seed(0)
    channels = {"res2": 8, "res3": 8, "res4": 8, "res5": 8}
    pixels = PixelDecoder(channels, dim=32, mask_dim=32, layers=1, heads=4, feedforward=32)
    decoder = MaskedAttentionDecoder(
        embed_dim=8, input_dim=32, dim=32, mask_dim=32, queries=5, layers=3, heads=4, feedforward=32
    )
    maps = {
        n: torch.randn(2, 8, 32 // s, 64 // s) for n, s in zip(channels, (1, 2, 4, 8), strict=True)
    }
    features = pixels(maps)
    all_heads, last = decoder(features, every_head=True), decoder(features)
    assert (len(all_heads), len(last)) == (4, 1)
    assert torch.equal(all_heads[-1].masks, last[0].masks)
    assert torch.equal(all_heads[-1].class_embedding, last[0].class_embedding)


def test_an_empty_mask_pools_to_zero():
    masks = torch.stack([torch.full((4, 4), -1.0), torch.ones(4, 4)])[None]
    features = torch.randn(1, 3, 4, 4)
    pooled = mask_pool(features, masks)[0]
    assert not pooled[0].any()
    torch.testing.assert_close(pooled[1], features[0].mean(dim=(1, 2)))


def test_classes_take_their_best_synonym():
    vectors, texts = torch.randn(2, 3, 8), torch.randn(6, 8)
    index = [0, 0, 1, 2, 2]
    scale = torch.tensor(1.0)
    single = class_scores(vectors, texts, range(5), scale)
    best = class_scores(vectors, texts, index, scale)
    expected = [single[..., :2].amax(-1), single[..., 2], single[..., 3:5].amax(-1), single[..., 5]]
    assert torch.equal(best, torch.stack(expected, dim=-1))


def test_scores_are_computed_in_float32_under_autocast():
    vectors, texts = torch.randn(2, 3, 64), torch.randn(6, 64)
    expected = class_scores(vectors.bfloat16().float(), texts, (), torch.tensor(4.0))
    with torch.autocast("cpu", torch.bfloat16):
        scores = class_scores(vectors.bfloat16(), texts, (), torch.tensor(4.0))
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-4)


def mask_scores(logits_first, size=(50, 41), queries=7, classes=30):
    generator = torch.Generator().manual_seed(0)
    return MaskScores(
        torch.randn(queries, classes + 1, generator=generator),
        torch.randn(queries, 16, 24, generator=generator) * 4,
        (64, 96), (60, 90), size, logits_first=logits_first,
    )  # fmt: skip


def plain_semantic(scores):
    """All maps at full size, in the published order of steps."""
    masks = F.interpolate(scores.masks[None], scores.canvas, mode="bilinear", align_corners=False)
    masks = masks[..., : scores.valid[0], : scores.valid[1]]
    weights = scores.class_logits.softmax(-1)[:, :-1]
    if scores.logits_first:
        masks = F.interpolate(masks, scores.size, mode="bilinear", align_corners=False)
        return torch.einsum("qk,qhw->khw", weights, masks[0].sigmoid())
    full = torch.einsum("qk,qhw->khw", weights, masks[0].sigmoid())
    return F.interpolate(full[None], scores.size, mode="bilinear", align_corners=False)[0]


@pytest.mark.parametrize("logits_first", [False, True])
@pytest.mark.parametrize("size", [(50, 41), (60, 90), (131, 200)])
def test_scores_in_blocks_equal_the_plain_form(logits_first, size, monkeypatch):
    scores = mask_scores(logits_first, size)
    plain = plain_semantic(scores)
    for budget in (64 * 2**20, 200_000):
        monkeypatch.setattr("ovs_core.modeling.mask2former.mask_scores.CHUNK_BYTES", budget)
        torch.testing.assert_close(scores.full(), plain, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(scores.classes(slice(3, 9)), plain[3:9], atol=1e-5, rtol=1e-5)
        best, second = plain.topk(2, dim=0).values
        clear = best - second > 1e-5
        assert torch.equal(scores.labels()[clear], plain.argmax(0)[clear])
        assert clear.float().mean() > 0.99


def sharp_masks(size, classes=140, **options):
    """Objects with edges, of which most pixels have one class that can win."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(1, 9, 4, 5, generator=generator) * 40
    masks = F.interpolate(coarse, size=(32, 48), mode="bilinear")[0]
    logits = torch.randn(9, classes + 1, generator=generator) * 5
    return MaskScores(logits, masks, (128, 192), (120, 180), size, **options)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("logits_first", [False, True])
@pytest.mark.parametrize("size", [(120, 180), (77, 61), (240, 401), (1, 1)])
def test_labels_without_classes_that_cannot_win(size, logits_first, align_corners, monkeypatch):
    scores = sharp_masks(size, logits_first=logits_first, align_corners=align_corners)
    labels = scores.labels()
    full = scores.full()
    assert labels.dtype == torch.int64 and len(labels.unique()) > (1 if size != (1, 1) else 0)
    best, second = full.topk(2, dim=0).values
    assert (
        torch.equal(labels, full.argmax(0))
        or (best - second)[labels != full.argmax(0)].max() < 1e-6
    )
    monkeypatch.setattr("ovs_core.modeling.mask2former.mask_scores.MANY_CLASSES", 1000)
    assert torch.equal(labels, scores.labels())


def test_few_classes_are_evaluated_where_masks_have_edges(monkeypatch):
    evaluated = []

    def counted(rows):
        evaluated.append(rows.numel())
        return best_column(rows)

    monkeypatch.setattr(mask_candidates, "best_column", counted)
    left = torch.where(torch.arange(96) < 40, 30.0, -30.0).expand(64, 96)
    logits = 40 * torch.eye(2, 141)
    size = (256, 384)
    scores = MaskScores(logits, torch.stack([left, -left]), size, size, size)
    labels = scores.labels()
    assert (labels[:, :150] == 0).all() and (labels[:, 170:] == 1).all()
    assert sum(evaluated) == mask_candidates.FEW * 256 * 384  # also at the edge


@pytest.mark.parametrize("weights", ["negative", "equal", "not finite"])
def test_weights_of_any_kind(weights):
    scores = sharp_masks((120, 180))
    table = torch.randn(9, 140, generator=torch.Generator().manual_seed(2))
    if weights == "equal":
        table = table[:, :1].expand(-1, 140)
    if weights == "not finite":
        table[:, 7] = float("nan")
    scores.weights = table
    assert torch.equal(scores.labels(), scores.full().argmax(0))


def test_panoptic_in_blocks_equals_one_block(monkeypatch):
    scores = mask_scores(True)
    settings = {"object_threshold": 0.0, "overlap_threshold": 0.1}
    things = [k % 2 == 0 for k in range(30)]
    ids, info = scores.panoptic(things, **settings)
    monkeypatch.setattr("ovs_core.modeling.mask2former.mask_scores.CHUNK_BYTES", 50_000)
    small_ids, small_info = scores.panoptic(things, **settings)
    assert torch.equal(ids, small_ids) and info == small_info and info


def test_nothing_kept_gives_an_empty_panoptic_map():
    scores = mask_scores(True)
    scores.class_logits[:, -1] = 100.0
    ids, info = scores.panoptic([True] * 30, object_threshold=0.0, overlap_threshold=0.8)
    assert not ids.any() and ids.shape == (50, 41) and info == []


def test_the_criterion_prefers_the_right_answer():
    torch.manual_seed(0)
    masks = torch.zeros(2, 32, 32, dtype=torch.bool)
    masks[0, :16], masks[1, 16:] = True, True
    target = MaskTargets(torch.tensor([1, 0]), masks)
    right_logits = torch.full((1, 3, 4), -5.0)
    right_logits[0, 0, 0] = right_logits[0, 1, 1] = right_logits[0, 2, 3] = 5.0
    swapped = masks[None].flip(1).float() * 40 - 20
    right_masks = torch.cat([swapped, torch.full((1, 1, 32, 32), -20.0)], dim=1)
    criterion = SetCriterion(Matcher(points=256), points=256)
    right = criterion([HeadOutput(right_logits, right_masks)], [target])
    wrong = criterion([HeadOutput(-right_logits, right_masks.mT)], [target])
    assert sum(right.values()) < 0.1 * sum(wrong.values())


def test_a_batch_without_segments():
    empty = MaskTargets(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 32, 32, dtype=torch.bool))
    logits = torch.randn(1, 3, 4, requires_grad=True)
    masks = torch.randn(1, 3, 8, 8, requires_grad=True)
    criterion = SetCriterion(Matcher(points=16), points=16)
    losses = criterion([HeadOutput(logits, masks)], [empty])
    sum(losses.values()).backward()
    assert losses["loss_mask"] == losses["loss_dice"] == 0
    assert logits.grad.any() and not masks.grad.any()
