"""Batch norms whose pictures are stated, and those that a split would change."""

import torch
from torch import nn

from ovs_core.modeling.batch_norm import (
    GroupedBatchNorm,
    SharedBatchNorm,
    group_batch_norms,
    share_batch_norms,
    split_batch_norms,
)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.GroupNorm(2, 4)).train()


def test_a_group_is_normed_for_itself():
    plain, grouped, x = network(), network(), torch.randn(6, 3, 5, 5)
    group_batch_norms(grouped, 2)
    assert isinstance(grouped[1], GroupedBatchNorm)
    expected = torch.cat([plain(part) for part in x.split(2)])
    torch.testing.assert_close(grouped(x), expected)
    assert (plain(x) - expected).abs().max() > 0.01
    torch.testing.assert_close(grouped.eval()(x[:3]), grouped(x)[:3])


def test_norms_that_a_split_would_change_are_named():
    plain, grouped, shared = network(), network(), network()
    group_batch_norms(grouped, 2)
    share_batch_norms(shared)
    assert isinstance(shared[1], SharedBatchNorm)

    def named(processes, parts):
        return [
            split_batch_norms(one, processes=processes, parts=parts)
            for one in (plain, grouped, shared)
        ]

    assert named(1, 1) == [[], [], []]
    assert named(2, 1) == [["1"], [], []]
    assert named(1, 2) == [["1"], [], ["1"]]
    assert split_batch_norms(plain.eval(), processes=2, parts=2) == []
