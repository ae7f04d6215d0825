"""Identities of the T-product and of its transform form."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ovs_core import tensor as ops
from ovs_core.errors import UserError

EXTENTS = st.lists(st.integers(1, 4), min_size=1, max_size=3)


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def transposed(a):
    """Each slice transposed, slices 2..n of each tube reversed."""
    a = a.transpose(0, 1)
    for axis in range(2, a.dim()):
        a = a.flip(axis).roll(1, axis)
    return a


def identity(n, tubes):
    """Slice (1, .., 1) is the identity, all others are zero."""
    result = torch.zeros(n, n, *tubes, dtype=torch.float64)
    result.view(n, n, -1)[..., 0] = torch.eye(n)
    return result


@settings(max_examples=25, deadline=None)
@given(tubes=EXTENTS, sizes=st.tuples(*[st.integers(1, 4)] * 3))
def test_fourier_route_equals_the_definition(tubes, sizes):
    n1, n2, n3 = sizes
    a, b = random(n1, n2, *tubes), random(n2, n3, *tubes, seed=1)
    torch.testing.assert_close(ops.t_product(a, b), ops.t_product_by_definition(a, b))


@settings(max_examples=15, deadline=None)
@given(tubes=EXTENTS)
def test_algebra(tubes):
    a, b, c = random(2, 3, *tubes), random(3, 2, *tubes, seed=1), random(2, 4, *tubes, seed=2)
    product = ops.t_product
    torch.testing.assert_close(product(product(a, b), c), product(a, product(b, c)))
    torch.testing.assert_close(product(a, b + 2 * b), product(a, b) + product(a, 2 * b))
    torch.testing.assert_close(transposed(product(a, b)), product(transposed(b), transposed(a)))


@settings(max_examples=15, deadline=None)
@given(tubes=EXTENTS)
def test_identity_on_either_side(tubes):
    a = random(2, 3, *tubes)
    torch.testing.assert_close(ops.t_product(identity(2, tubes), a), a)
    torch.testing.assert_close(ops.t_product(a, identity(3, tubes)), a)


def test_fold_undoes_unfold():
    a = random(2, 3, 4, 5)
    torch.testing.assert_close(ops.fold(ops.unfold(a), 5), a)


def test_dft_matrices_give_the_t_product():
    a, b = random(2, 3, 4, 5), random(3, 2, 4, 5, seed=1)
    dft = [torch.fft.fft(torch.eye(n, dtype=torch.complex128)) for n in (4, 5)]
    product = ops.transform_product(a.to(torch.complex128), b.to(torch.complex128), dft)
    torch.testing.assert_close(product.real, ops.t_product(a, b))
    assert product.imag.abs().max() < 1e-10


def test_other_transforms_are_another_associative_product():
    a, b, c = random(2, 2, 3), random(2, 2, 3, seed=1), random(2, 2, 3, seed=2)
    s = [random(3, 3, seed=3)]
    product = ops.transform_product
    torch.testing.assert_close(product(product(a, b, s), c, s), product(a, product(b, c, s), s))
    assert (product(a, b, s) - ops.t_product(a, b)).abs().max() > 1e-3


def test_gradients():
    a, b = random(2, 2, 3).requires_grad_(), random(2, 2, 3, seed=1).requires_grad_()
    s = random(3, 3, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(ops.t_product, (a, b))
    assert torch.autograd.gradcheck(lambda *x: ops.transform_product(x[0], x[1], [x[2]]), (a, b, s))


@pytest.mark.parametrize(
    "call",
    [
        lambda: ops.t_product(random(2, 3, 4), random(2, 3, 4)),
        lambda: ops.circ(random(2, 3)),
        lambda: ops.fold(random(5, 2), 3),
        lambda: ops.mode_product(random(2, 3), random(2, 2), 2),
        lambda: ops.mode_product(random(2, 3), random(2, 2), 3),
        lambda: ops.transform(random(2, 3, 4), []),
    ],
)
def test_shapes_that_do_not_fit(call):
    with pytest.raises(UserError):
        call()


SQUARE = random(4, 4, seed=5)  # made here: vmap forbids drawing inside


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.complex64])
def test_every_precision(dtype):
    a, b = random(2, 3, 4, 5).to(dtype), random(3, 2, 4, 5, seed=1).to(dtype)
    matrices = [random(n, n, seed=n).to(dtype) for n in (4, 5)]
    wide = torch.complex128 if dtype.is_complex else torch.float64
    loose = {"rtol": 0.05, "atol": 0.05} if dtype.itemsize == 2 else {"rtol": 1e-4, "atol": 1e-4}
    product = ops.t_product(a, b)
    assert product.dtype == dtype
    torch.testing.assert_close(product.to(wide), ops.t_product(a.to(wide), b.to(wide)), **loose)
    other = ops.transform_product(a, b, matrices)
    assert other.dtype == dtype
    exact = ops.transform_product(a.to(wide), b.to(wide), [m.to(wide) for m in matrices])
    scale = exact.abs().max()
    torch.testing.assert_close(other.to(wide) / scale, exact / scale, **loose)


@pytest.mark.parametrize(
    "call",
    [
        ops.t_product,
        ops.t_product_by_definition,
        lambda a, b: ops.circ(a) + ops.circ(b).mT,
        lambda a, b: ops.fold(ops.unfold(a), 4),
        lambda a, b: ops.transform_product(a, b, [SQUARE]),
        lambda a, b: ops.mode_product(a, SQUARE[:2], 3),
    ],
)
def test_batches(call):
    a, b = random(6, 2, 3, 4), random(6, 3, 2, 4, seed=1)
    whole = torch.vmap(call)(a, b)
    torch.testing.assert_close(whole, torch.stack([call(x, y) for x, y in zip(a, b, strict=True)]))
