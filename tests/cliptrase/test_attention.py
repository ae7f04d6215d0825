"""Attention modes and correlation: the identities of the paper."""

import pytest
import torch
from torch.nn import functional as F

from cliptrase.attention import MODES, allowed_pairs, attend
from cliptrase.correlation import correlation, denoise, eq7_score
from ovs_core.errors import UserError


@pytest.fixture
def streams():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 4, 10, 8, generator=generator) for _ in range(3)]


def broadcast_correlation(q, k, v):
    """Equation 3 as it is written: one cosine matrix per stream and head."""
    parts = [F.cosine_similarity(t.unsqueeze(3), t.unsqueeze(2), dim=-1) for t in (q, k, v)]
    return sum(parts).mean(dim=1) / 3


def test_correlation_is_the_mean_of_cosines(streams):
    ours = correlation(*streams)
    assert torch.allclose(ours, broadcast_correlation(*streams), atol=1e-6)
    assert torch.allclose(ours, ours.transpose(1, 2), atol=1e-6)
    assert torch.allclose(ours.diagonal(dim1=1, dim2=2), torch.ones(2, 10), atol=1e-6)


def test_correlation_ignores_order_and_rotation_of_heads(streams):
    expected = correlation(*streams)
    assert torch.allclose(correlation(*(t.flip(1) for t in streams)), expected, atol=1e-6)
    rotation = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1))).Q
    q, k, v = streams
    assert torch.allclose(correlation(q @ rotation, k, v), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "total"),
    [
        ("softmax_sum", 3.0),
        ("softmax_mean", 1.0),
        ("csa", 2.0),
        ("vanilla", 1.0),
        ("qq", 1.0),
        ("kk", 1.0),
        ("vv", 1.0),
        ("identity", 1.0),
        ("cos_shared", 1.0),
        ("inner_shared", 1.0),
    ],
)
def test_row_sums_of_the_attention(streams, mode, total):
    q, k, _ = streams
    # With equal values for all tokens, the output is the row sum times that value. Streams other
    # than the values still decide who attends to whom.
    v = torch.ones_like(q)
    assert torch.allclose(attend(q, k, v, mode), torch.full((2, 10, 32), total), atol=1e-5)


def test_all_modes_are_covered():
    assert set(MODES) == {
        "softmax_sum",
        "softmax_mean",
        "csa",
        "vanilla",
        "qq",
        "kk",
        "vv",
        "identity",
        "cos_shared",
        "inner_shared",
    }


@pytest.mark.parametrize("mode", [m for m in MODES if m != "identity"])
def test_forbidden_pairs_do_not_matter(streams, mode):
    labels = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1, 1]]).repeat(2, 1)
    allowed = allowed_pairs(labels)
    changed = [t.clone() for t in streams]
    for t in changed:
        t[:, :, 4:] = torch.randn(t[:, :, 4:].shape, generator=torch.Generator().manual_seed(5))
    first, second = (attend(*s, mode, allowed=allowed) for s in (streams, changed))
    assert torch.allclose(first[:, 1:4], second[:, 1:4], atol=1e-5)
    assert not torch.allclose(first[:, 4:], second[:, 4:], atol=1e-2)


def test_denoising(streams):
    matrix = correlation(*streams)[0]
    clean = denoise(matrix)
    assert clean.shape == (9, 9)
    assert clean.min() >= 0
    assert torch.equal(clean, (matrix[1:, 1:] - matrix[0, 1:]).clamp_min(0))
    assert torch.equal(denoise(matrix, "none"), matrix[1:, 1:])


def test_the_printed_denoising_never_acts_on_cosines(streams):
    assert eq7_score(denoise(correlation(*streams)[0], "none")).max() <= 0


def test_unknown_names_are_refused(streams):
    with pytest.raises(UserError, match="Did you mean 'softmax_sum'"):
        attend(*streams, "softmax_sun")
    with pytest.raises(UserError, match="CORR.KIND"):
        correlation(*streams, kind="cosin")
    with pytest.raises(UserError, match="DENOISE"):
        denoise(torch.eye(4), "cls")
