"""The label map must equal interpolate + argmax bit for bit, on every way that leads to it."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ovs_core.modeling import label_argmax, label_candidates
from ovs_core.modeling.label_argmax import argmax_upsample, chunked_labels
from ovs_core.modeling.label_candidates import candidate_labels


def plain(scores, size, align_corners=False):
    full = F.interpolate(scores[None], size=size, mode="bilinear", align_corners=align_corners)
    return full[0].argmax(0)


def make(kind, shape, seed):
    torch.manual_seed(seed)
    num_classes, h, w = shape
    if kind == "constant":
        return torch.full(shape, 0.3)
    if kind == "random":
        return torch.randn(shape)
    if kind == "few values":  # many exact ties
        return torch.randint(0, 3, shape).float()
    if kind == "half":
        return torch.randn(shape).half().float()
    if kind == "huge gaps":
        return torch.where(torch.rand(shape) < 0.2, -1e4, torch.randn(shape))
    if kind == "common":  # what all classes share is larger than what tells them apart
        return torch.randn(shape) + 5 * torch.randn(1, h, w)
    coarse = torch.randn(1, num_classes, 3, 3) * 3 + torch.randn(1, num_classes, 1, 1)
    return F.interpolate(coarse, size=(h, w), mode="bicubic")[0].contiguous()


KINDS = ["constant", "random", "few values", "half", "huge gaps", "common", "smooth"]


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 30), st.integers(1, 30)),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    align_corners=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_equals_interpolate_argmax(kind, shape, size, align_corners, seed):
    scores = make(kind, shape, seed)
    ours = argmax_upsample(scores, size, align_corners=align_corners)
    assert ours.dtype == torch.int16 and tuple(ours.shape) == size
    assert torch.equal(ours.long(), plain(scores, size, align_corners))


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(KINDS[1:]),
    shape=st.tuples(st.integers(16, 40), st.integers(2, 16), st.integers(2, 16)),
    size=st.tuples(st.integers(129, 180), st.integers(33, 150)),
    align_corners=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_candidates_equal_interpolate_argmax(kind, shape, size, align_corners, seed):
    scores = make(kind, shape, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_candidates, "_SMALL_OUTPUT", 0)
        patch.setattr(label_candidates, "_BAND_VALUES", 200_000)  # several bands
        ours = candidate_labels(scores, size, align_corners=align_corners)
    assert ours is not None
    assert torch.equal(ours.long(), plain(scores, size, align_corners))


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    num_classes=st.integers(1, 70),
    size=st.sampled_from([(140, 90), (33, 200), (40, 41)]),
    seed=st.integers(0, 2**31),
)
def test_chunks_equal_interpolate_argmax(kind, num_classes, size, seed):
    scores = make(kind, (num_classes, 9, 11), seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_argmax, "_CHUNK_VALUES", 0)
        ours = chunked_labels(scores, size)
    assert torch.equal(ours.long(), plain(scores, size))


@pytest.mark.parametrize("kind", KINDS)
def test_real_size(kind):
    scores = make(kind, (150, 40, 41), 3)
    size = (321, 500)
    assert torch.equal(argmax_upsample(scores, size).long(), plain(scores, size))


@pytest.mark.parametrize("kind", ["random", "common", "smooth"])
def test_candidates_are_used_at_real_size(kind):
    assert candidate_labels(make(kind, (150, 40, 41), 3), (321, 500)) is not None


def test_candidates_are_used_at_the_size_of_a_square_crop():
    scores = make("smooth", (150, 14, 14), 3)
    ours = candidate_labels(scores, (224, 224))
    assert ours is not None and torch.equal(ours.long(), plain(scores, (224, 224)))


@pytest.mark.parametrize("size", [(64, 64), (33, 95), (64, 65)])
def test_sizes_around_the_other_kernel_of_small_outputs(size):
    scores = make("few values", (600, 9, 11), 3)
    assert torch.equal(argmax_upsample(scores, size).long(), plain(scores, size))


def test_several_threads():
    scores, size = make("random", (150, 40, 41), 3), (321, 500)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        ours = candidate_labels(scores, size)
        assert torch.get_num_threads() == 3
        assert torch.equal(ours.long(), plain(scores, size))
        assert candidate_labels(torch.zeros(150, 40, 41), size) is None
        with torch.inference_mode():
            assert torch.equal(argmax_upsample(scores * 1, size).long(), plain(scores, size))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_identical_classes_are_left_to_the_chunks():
    assert candidate_labels(torch.zeros(150, 40, 41), (321, 500)) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite(value):
    scores = make("random", (150, 40, 41), 5)
    scores[70, 3:9] = value
    scores[20, 5:20, 5] = value
    size = (321, 500)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_argmax, "_CHUNK_VALUES", 16 * 321 * 500)
        assert torch.equal(argmax_upsample(scores, size).long(), plain(scores, size))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes(dtype):
    scores = make("random", (20, 12, 13), 0).to(dtype)
    wide = scores if dtype == torch.float64 else scores.float()
    assert torch.equal(argmax_upsample(scores, (50, 61)).long(), plain(wide, (50, 61)))


def test_channels_last_scores_and_batches():
    scores = torch.stack([make("random", (20, 12, 13), i) for i in range(2)])
    expected = torch.stack([plain(x, (50, 61)) for x in scores])
    assert torch.equal(argmax_upsample(scores, (50, 61)).long(), expected)
    other = scores.to(memory_format=torch.channels_last)
    assert torch.equal(argmax_upsample(other, (50, 61)).long(), expected)


def test_offset_and_background():
    scores = make("smooth", (20, 12, 13), 0)
    offset = torch.linspace(-1, 1, 20)
    expected = plain(scores + offset[:, None, None], (50, 61)).clamp(max=12)
    ours = argmax_upsample(scores, (50, 61), offset=offset, background_from=12)
    assert torch.equal(ours.long(), expected)
    assert ours.max() == 12


def test_many_classes_need_int32():
    scores = torch.zeros(40_000, 1, 1)
    scores[39_999] = 1
    labels = argmax_upsample(scores, (2, 2))
    assert labels.dtype == torch.int32 and (labels == 39_999).all()


def test_gradient_is_not_kept():
    assert not argmax_upsample(torch.randn(4, 3, 3, requires_grad=True), (6, 6)).requires_grad


@pytest.mark.parametrize("scores", [torch.zeros(3, 3), torch.zeros(2, 3, 3, dtype=torch.int64)])
def test_wrong_input(scores):
    with pytest.raises(ValueError, match="scores must be floats of shape"):
        argmax_upsample(scores, (4, 4))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_on_gpu(kind):
    scores = make(kind, (150, 40, 41), 3).cuda()
    assert torch.equal(argmax_upsample(scores, (321, 500)).long(), plain(scores, (321, 500)))
