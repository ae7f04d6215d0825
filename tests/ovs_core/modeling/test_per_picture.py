"""Random numbers of a picture are its own, whoever else is in the batch."""

import pytest
import torch
from timm.layers import DropPath
from torch import nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

from ovs_core.modeling.per_picture import (
    Dropout,
    draw_per_picture,
    drawing_for,
    picture_by_picture,
    seed_for,
    uniform_of,
)

KEYS = [(3, 10), (3, 11), (3, 12), (3, 13)]
CPU = torch.device("cpu")


def parts(run, *sizes):
    """Run something on all pictures and on parts of them; give both."""
    with drawing_for(KEYS):
        whole = run(slice(0, 4))
    found, start = [], 0
    for size in sizes:
        which = slice(start, start + size)
        with drawing_for(KEYS[which]):
            found.append(run(which))
        start += size
    return whole, torch.cat(found)


@pytest.mark.parametrize("dims", [None, 2, 1])
@pytest.mark.parametrize("rows", [1, 3], ids=["rows", "windows"])
def test_dropout_is_the_same_in_every_split(dims, rows):
    layer, x = Dropout(0.5, dims), torch.ones(4 * rows, 6, 5, 5)
    masks = parts(lambda s: layer(x[s.start * rows : s.stop * rows]), 1, 2, 1)
    assert torch.equal(*masks)
    first = masks[0].unflatten(0, (4, rows))
    assert len({tuple(one.flatten().tolist()) for one in first}) > 1
    assert set(masks[0].unique().tolist()) == {0.0, 2.0}
    kept = masks[0] > 0
    if dims is not None:  # what is dropped is dropped as one
        assert torch.equal(kept.flatten(dims).all(-1), kept.flatten(dims).any(-1))


def test_dropout_draws_anew_each_time_and_rests_in_evaluation():
    layer, x = Dropout(0.5), torch.ones(4, 50)
    with drawing_for(KEYS):
        assert not torch.equal(layer(x), layer(x))
        assert torch.equal(layer.eval()(x), x)


def test_rows_that_belong_to_no_picture_are_refused():
    with drawing_for(KEYS), pytest.raises(ValueError, match="5 rows .* 4 pictures"):
        Dropout(0.5)(torch.ones(5, 2))


def test_points_of_a_picture_do_not_depend_on_the_others():
    owners = [0, 0, 2, 3, 3, 3]  # picture 1 has no mask

    def draw(which):
        own = [one - which.start for one in owners if which.start <= one < which.stop]
        return uniform_of(own, (7, 2), CPU)

    whole, joined = parts(draw, 2, 2)
    assert torch.equal(whole, joined) and whole.shape == (6, 7, 2)


def test_what_takes_common_generators_is_run_picture_by_picture():
    x = torch.ones(4, 30)
    assert torch.equal(
        *parts(lambda s: picture_by_picture(lambda t: F.dropout(t, 0.5), x[s]), 3, 1)
    )


def test_outside_of_a_step_the_common_generator_is_used():
    torch.manual_seed(0)
    expected = torch.rand(2, 3), F.dropout(torch.ones(2, 3), 0.5), torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(uniform_of([0, 1], (3,), CPU), expected[0])
    assert torch.equal(Dropout(0.5)(torch.ones(2, 3)), expected[1])
    seed_for(0)
    assert torch.equal(torch.rand(1), expected[2])


def test_networks_get_layers_of_this_kind():
    network = nn.Sequential(
        nn.Dropout(0.1),
        nn.Sequential(nn.Dropout2d(0.2), DropPath(0.3)),
        StochasticDepth(0.4, "row"),
    )
    draw_per_picture(network)
    found = [(m.p, m.dims) for m in network.modules() if isinstance(m, Dropout)]
    assert found == [(0.1, None), (0.2, 2), (0.3, 1), (0.4, 1)]
