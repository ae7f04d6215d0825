"""Cayley maps, block-diagonal products and hyperspherical energy."""

import pytest
import torch

from ovs_core.tensor import (
    apply_block_diagonal,
    cayley,
    hyperspherical_energy,
    orthogonality_defect,
    skew_part,
)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("scale", [0.0, 0.1, 30.0])
def test_cayley_gives_rotations(scale):
    r = cayley(torch.randn(3, 2, 16, 16) * scale)
    assert orthogonality_defect(r).max() < 1e-5
    torch.testing.assert_close(torch.linalg.det(r), torch.ones(3, 2), rtol=1e-4, atol=1e-4)


def test_cayley_forgets_the_symmetric_part():
    x, y = torch.randn(8, 8), torch.randn(8, 8)
    torch.testing.assert_close(cayley(x), cayley(skew_part(x) + y + y.T), rtol=1e-4, atol=1e-5)


def test_cayley_signs_are_transposes():
    x = torch.randn(8, 8, dtype=torch.float64)
    torch.testing.assert_close(cayley(x, sign=1), cayley(x).T)
    s = skew_part(x)
    eye = torch.eye(8, dtype=torch.float64)
    torch.testing.assert_close(cayley(x), (eye - s) @ torch.linalg.inv(eye + s))


def test_cayley_is_computed_in_float32_under_autocast():
    x = torch.randn(4, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        r = cayley(x)
        half = cayley(x.bfloat16())
    assert r.dtype == half.dtype == torch.float32
    assert orthogonality_defect(r).max() < 1e-5
    assert orthogonality_defect(half).max() < 1e-5


def test_block_diagonal_products_equal_the_dense_ones():
    blocks = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    right, left = torch.randn(2, 5, 12).double(), torch.randn(2, 12, 5).double()
    for i in range(2):
        dense = torch.block_diag(*blocks[i])
        torch.testing.assert_close(
            apply_block_diagonal(right, blocks, side="right")[i], right[i] @ dense
        )
        ours = apply_block_diagonal(left, blocks, side="left")[i]
        torch.testing.assert_close(ours, dense @ left[i])


def test_energy_is_kept_by_rotated_inputs_and_not_by_mixed_outputs():
    weight, rotation = torch.randn(24, 24).double(), cayley(torch.randn(3, 8, 8).double())
    energy = hyperspherical_energy(weight)
    torch.testing.assert_close(
        hyperspherical_energy(apply_block_diagonal(weight, rotation, side="right")), energy
    )
    mixed = hyperspherical_energy(apply_block_diagonal(weight, rotation, side="left"))
    assert abs(mixed - energy) > 1e-3 * energy


def test_energy_by_hand():
    # Three directions: 0, 90 and 180 degrees; distances sqrt 2, 2, sqrt 2, each pair twice.
    weight = torch.tensor([[2.0, 0.0], [0.0, 5.0], [-1.0, 0.0]])
    expected = 2 * (2 / 2**0.5 + 1 / 2)
    torch.testing.assert_close(hyperspherical_energy(weight), torch.tensor(expected))


def test_gradients():
    x = torch.randn(2, 4, 4, dtype=torch.float64, requires_grad=True)
    w = torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(cayley, (x,))
    assert torch.autograd.gradcheck(lambda a, b: apply_block_diagonal(a, b, side="right"), (w, x))
    assert torch.autograd.gradcheck(hyperspherical_energy, (w,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_energy_of_half_precision_is_computed_in_float32(dtype):
    weight = torch.randn(12, 8).to(dtype)
    energy = hyperspherical_energy(weight)
    assert energy.dtype == torch.float32
    torch.testing.assert_close(energy.double(), hyperspherical_energy(weight.double()), rtol=1e-5,
                               atol=0)  # fmt: skip
