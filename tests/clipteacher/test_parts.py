"""Properties of pooling, bank, K-means, fusion and token memory; two processes."""

import math

import pytest
import torch

from clipteacher.glm import GlobalLearning, StepTokens
from clipteacher.losses import LossSettings, generate_loss, training_logits
from clipteacher.mask_fusion import fuse_centers
from clipteacher.pooling import attention_weights, pool_dense
from clipteacher.potential import PotentialObjects
from clipteacher.teacher import Teacher
from ovs_core.clip import load_clip
from ovs_core.errors import UserError

N_STEPS, DIM = 3, 8


@pytest.fixture
def tokens():
    return torch.randn(3, 16, 9, 11, generator=torch.Generator().manual_seed(0))


def test_attention_sums_to_one_and_no_query_is_mean_pooling(tokens):
    cls = torch.randn(3, 16, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(attention_weights(tokens, cls).sum(dim=(1, 2)), torch.ones(3))
    plain = pool_dense(tokens, torch.zeros_like(cls))
    torch.testing.assert_close(plain, pool_dense(tokens, cls, "mean"))


@pytest.mark.parametrize(
    "negatives, count", [("pool", 383), ("bank_and_batch", 399), ("bank_only", 384)]
)
def test_number_of_negatives_in_the_steady_state(negatives, count):
    glm, draw = GlobalLearning(negatives=negatives), torch.Generator().manual_seed(0)
    dense, cls = torch.randn(16, 4, 2, 2, generator=draw), torch.randn(16, 4, generator=draw)
    for _ in range(30):
        logits = glm.logits(dense, cls)
    assert logits.shape == (16, 1 + count) and len(glm.bank) == 24


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (9, 11), (32, 32)])
def test_grid_windows_are_58_on_every_grid(shape):
    finder, tokens = PotentialObjects(), torch.randn(1, 4, *shape)
    ignored = torch.ones(1, *shape, dtype=torch.bool)
    assert finder.start_centers(tokens, ignored)[0].shape == (1, 58, 4)
    groups, count = finder(tokens, ignored)
    assert groups.min() == 0 and groups.max() + 1 == count
    sized = PotentialObjects(window_mode="size").start_centers(tokens, ignored)[0]
    assert sized.shape[1] == {(32, 32): 146}.get(shape, sized.shape[1]) > 0


def test_groups_partition_the_ignored_tokens_and_scale_does_not_matter(tokens):
    ignored = torch.rand(3, 9, 11, generator=torch.Generator().manual_seed(2)) < 0.6
    ignored[1] = False
    finder = PotentialObjects(threshold=0.3)
    groups, counts = finder(tokens, ignored)
    assert torch.equal(groups >= 0, ignored) and counts[1] == 0 and counts[0] > 1
    scaled, _ = finder(tokens * 4.0, ignored)
    assert torch.equal(groups, scaled)
    alone = torch.cat([finder(tokens[i : i + 1], ignored[i : i + 1])[0] for i in range(3)])
    assert torch.equal(groups, alone)


def test_extreme_thresholds_fuse_nothing_and_everything(tokens):
    centers, live = tokens.flatten(2).transpose(1, 2), torch.ones(3, 99, dtype=torch.bool)
    assert (fuse_centers(centers, live, 1.1).amax(dim=1) == 98).all()
    assert (fuse_centers(centers, live, -1.0) == 0).all()


def test_teacher_runs_once_per_picture():
    visual = load_clip("embedded-vit").visual.train()
    teacher = Teacher(visual, cache_mib=8)
    plain = Teacher(load_clip("embedded-vit").visual)
    assert not visual.training
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    seen = []
    visual.conv1.register_forward_hook(lambda module, inputs, out: seen.append(len(inputs[0])))
    for batch, total in ((images[[0, 1, 0]], 2), (images, 3), (images[:2], 3)):
        for ours, expected in zip(teacher(batch), plain(batch), strict=True):
            torch.testing.assert_close(ours, expected)
        assert sum(seen) == total
    teacher.cache.limit = 1
    teacher.cache.put(b"new", tuple(torch.zeros(2, 4)))
    assert teacher.cache.used == 0


def _data():
    draw = torch.Generator().manual_seed(0)
    dense = torch.randn(N_STEPS, 4, DIM, 3, 3, generator=draw)
    return dense, torch.randn(N_STEPS, 4, DIM, generator=draw)


@pytest.mark.parametrize("gather", [True, False])
def test_parts_of_a_step_hold_the_bank_of_the_whole(gather):
    """With ``gather`` off a part sees the tokens at its own places alone."""
    dense, cls = _data()
    whole, split = (GlobalLearning(bank_size=2, gather=gather) for _ in range(2))
    alone = [GlobalLearning(bank_size=2) for _ in range(2)]
    for d, c in zip(dense, cls, strict=True):
        parts = [split(d[i : i + 2], c[i : i + 2], step=StepTokens(c, i)) for i in (0, 2)]
        split.remember(c)
        expected = [one(d[i : i + 2], c[i : i + 2]) for one, i in zip(alone, (0, 2), strict=True)]
        together = whole(d, c)
        if gather:
            torch.testing.assert_close(sum(parts) / 2, together)
        else:
            torch.testing.assert_close(parts, expected)
    assert all(map(torch.equal, split.run_state()["bank"], whole.run_state()["bank"]))


def test_the_later_revisions_generate_loss():
    """Each class's own inner product against those with the other classes, by hand."""
    text = torch.eye(2, 3)
    rows = torch.tensor([[2.0, 1.0, 0.0], [0.0, -1.0, 5.0]])
    # logits t . p: own 2 and -1; others t0 . p1 = 0 and t1 . p0 = 1
    own = sum(math.log(1 + math.exp(-x)) for x in (2.0, -1.0))
    others = sum(math.log(1 + math.exp(x)) for x in (0.0, 1.0))
    for reduction, divisor in (("mean", 2), ("sum", 1), ("elements", 4)):
        value = generate_loss(rows, text, reduction, "bce")
        assert value.item() == pytest.approx((own + others) / divisor, rel=1e-6)
    assert generate_loss(rows[:0], text[:0], kind="bce") == 0


def test_the_later_revisions_logits():
    generator = torch.Generator().manual_seed(0)
    dense = torch.randn(2, 5, 3, 4, generator=generator) * 7
    text, own = (torch.randn(n, 5, generator=generator) for n in (3, 2))
    settings = LossSettings(pseudo_logits="cosine", alpha=2.0, beta=3.0)
    found = training_logits(dense, text, own, settings)
    plain = training_logits(dense, text, own, LossSettings())
    assert found.shape == plain.shape == (2, 5, 3, 4)
    assert torch.allclose(found[:, :3], 2 * plain[:, :3])
    for group in range(2):
        cosine = torch.cosine_similarity(dense, own[group].view(1, 5, 1, 1), dim=1)
        assert torch.allclose(found[:, 3 + group], 3 * cosine, atol=1e-5)
        assert torch.allclose(plain[:, 3 + group], (dense * own[group].view(1, 5, 1, 1)).sum(1))
    with pytest.raises(UserError, match="LOSS.GENERATE_KIND"):
        LossSettings(generate_kind="l1")
