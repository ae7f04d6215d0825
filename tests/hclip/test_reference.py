"""The fast forward against the plain one of tools/hclip_reference.py, and its benchmark."""

import pytest
import torch
from benchmark_hclip import UNCHUNKED, disturbed_model, measure_memory, time_stages
from hclip_reference import mixed_blocks, reference_logits

from hclip import HCLIP, POPSettings
from ovs_core.errors import UserError
from ovs_core.modeling.cost_cells import cell_linear, in_chunks


@pytest.mark.parametrize("pooling", [(1, 1), (2, 2)])
@pytest.mark.parametrize(("words", "window"), [(3, 3), (8, 2), (11, 6)])
def test_both_forwards_give_the_same_logits(tiny, images, words, window, pooling):
    decoder = tiny.decoder(window=window, pooling_test=pooling, chunk=2)
    model = tiny.perturb(tiny.model(cls=HCLIP, decoder=decoder)).eval()
    model.set_vocabulary([f"thing {i}" for i in range(words)])
    with torch.no_grad():
        ours = model.score(model.encode(images))
    expected = reference_logits(model, images)
    assert expected.std() > 1e-3
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_one_pass_over_the_shared_tensor_equals_one_per_layer(tiny):
    pop = tiny.perturb(tiny.model(pop=POPSettings(block_size=8, orthogonal="none"))).adaptation.pop
    with torch.no_grad():
        blocks = pop()["image"]  # (layers, 4, slots, q, q)
        for layer in range(len(blocks)):
            plain = mixed_blocks(pop, layer)[..., pop.counts[0] :].permute(2, 3, 0, 1)
            torch.testing.assert_close(blocks[layer], plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cells", [1, 7, 16, 48])
def test_a_convolution_is_a_linear_layer(cells):
    x, weight, bias = torch.randn(2, cells, 6), torch.randn(5, 6), torch.randn(5)
    expected = torch.nn.functional.linear(x, weight, bias)
    torch.testing.assert_close(cell_linear(x, weight, bias), expected)


def test_chunks_may_change_other_axes():
    x = torch.randn(3, 7, 4)
    result = in_chunks(lambda part: part.sum(dim=2, keepdim=True), x, 3, dim=1)
    torch.testing.assert_close(result, x.sum(dim=2, keepdim=True))


def test_the_benchmark_measures_what_it_names():
    model = disturbed_model("hclip/tiny", ["MODEL.CATSEG.IMAGE_SIZE", "48"])
    model.set_vocabulary("car, sky")
    ticks = iter(range(10_000))
    result = time_stages(model, torch.randn(1, 3, 48, 48), 1, lambda: float(next(ticks)))
    assert result["difference"] < 1e-4
    assert result["seconds"]["whole"] == result["seconds"]["plain"] == 1.0  # one tick each
    assert result["ratio_to_floor"] == pytest.approx(1 / (1 + result["decoder_floor"]))
    assert result["decoder_gflop"] > 0


def test_the_benchmark_refuses_what_has_no_plain_forward():
    with pytest.raises(UserError, match="released form"):
        disturbed_model("hclip/tiny", ["MODEL.HCLIP.FORM", "paper"])


def test_chunks_do_not_change_labels():
    options = ["MODEL.CATSEG.IMAGE_SIZE", "48", "MODEL.CATSEG.PAD_LEN", "256"]
    models = (
        disturbed_model("hclip/tiny", options),
        disturbed_model("hclip/tiny", [*options, *UNCHUNKED]),
    )
    models[0].set_vocabulary([f"thing {i}" for i in range(300)])  # more than the decoder keeps
    assert measure_memory(*models)["same_labels"] > 0.99
    pictures = torch.randn(1, 3, 48, 48)
    with torch.no_grad():
        chunked, whole = (model.score(model.encode(pictures))[0] for model in models)
    best = whole.topk(2, dim=0)
    certain = best.values[0] - best.values[1] > 1e-4  # the rest are ties but for rounding
    assert certain.double().mean() > 0.9
    assert torch.equal(chunked.argmax(dim=0)[certain], best.indices[0][certain])
