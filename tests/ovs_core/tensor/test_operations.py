"""Operations are counted where a hand can count them."""

import torch
from torch.nn import functional as F

from ovs_core.tensor.operations import OperationCounter


def test_products_convolutions_and_both_passes():
    x, w = torch.randn(4, 5), torch.randn(5, 6, requires_grad=True)
    kernel = torch.randn(2, 1, 3, 3)
    with OperationCounter() as counter:
        (x @ w).sum().backward()
        F.conv2d(torch.randn(1, 1, 8, 8), kernel, padding=1)
    assert counter.flops == 2 * (2 * 4 * 5 * 6) + 2 * 8 * 8 * 2 * 9


def test_attention_on_the_cpu():
    q, k, v = (torch.randn(1, 2, 16, 8, requires_grad=True) for _ in range(3))
    with OperationCounter() as counter:
        F.scaled_dot_product_attention(q, k, v).sum().backward()
    product = 2 * 2 * 16 * 16 * 8
    assert counter.flops == 2 * product + 5 * product  # one of the backward pass is computed again


def test_fused_layers_are_taken_apart():
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    with torch.no_grad(), OperationCounter() as counter:
        layer(torch.randn(1, 5, 8))
    linear, attention = 4 * 8 * 8 + 2 * 8 * 16, 2 * 5 * 8
    assert counter.flops == 2 * 5 * (linear + attention)
    assert torch.backends.mha.get_fastpath_enabled()
