"""The model around the adaptation: words, decoder, losses, checkpoints, wrong input."""

import pytest
import torch
from torch.nn import functional as F

from hclip import HCLIP
from hclip.losses import binary_cross_entropy, cross_entropy
from ovs_core.clip.weight_files import read_weight_file
from ovs_core.engine.checkpoint import OVSCheckpointer
from ovs_core.errors import UserError
from ovs_core.modeling.cost_aggregation import DROPPED, CostAggregation
from ovs_core.modeling.protocols import Slide, Whole
from ovs_core.words.label_space import IGNORE


@torch.no_grad()
def logits(model, images):
    return model.score(model.encode(images))


def inputs(words=5, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = [(batch, 32, 6, 6), (words, 1, 32), (batch, 24, 12, 12), (batch, 12, 24, 24)]
    image, text, *details = (torch.randn(s, generator=generator) for s in sizes)
    return image, text, (image, *details)


@pytest.mark.parametrize("attention", ["linear", "full"])
@pytest.mark.parametrize("pooling", [(1, 1), (2, 2), (4, 4)])
@pytest.mark.parametrize("words", [5, 8, 11])
def test_chunks_change_nothing(tiny, attention, pooling, words):
    settings = {"attention": attention, "pooling_test": pooling}
    decoders = [
        CostAggregation(32, 1, tiny.decoder(chunk=chunk, **settings)).eval() for chunk in (0, 3)
    ]
    decoders[1].load_state_dict(tiny.perturb(decoders[0]).state_dict())
    whole = decoders[0](*inputs(words))
    with torch.no_grad():
        torch.testing.assert_close(decoders[1](*inputs(words)), whole, rtol=1e-4, atol=1e-4)


def test_padding_stands_for_its_copies(tiny):
    """Five words and three copies of the padding are the same as the copies written out."""
    layer = tiny.perturb(CostAggregation(32, 1, tiny.decoder(attention="full"))).layers[0].classes
    layer.eval()
    x, words = torch.randn(1, 5, 3, 3, 32), torch.randn(1, 5, 16)
    pad = layer.padding_token.expand(1, 3, 3, 3, 32)
    guidance = layer.padding_guidance.expand(1, 3, 16)
    with torch.no_grad():
        for kind in ("full", "linear"):
            layer.kind = kind
            written = layer(torch.cat([x, pad], 1), torch.cat([words, guidance], 1))[:, :5]
            torch.testing.assert_close(layer(x, words), written, rtol=1e-4, atol=1e-5)


def test_order_of_words_and_pictures_does_not_matter(tiny, images):
    model = tiny.perturb(tiny.model()).eval()
    before = logits(model, images)
    model.set_vocabulary(tiny.words[::-1])
    torch.testing.assert_close(logits(model, images), before.flip(1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits(model, images[1:]), before[1:].flip(1), rtol=1e-4, atol=1e-4)


def test_words_beyond_the_limit_are_dropped(tiny):
    decoder = CostAggregation(32, 1, tiny.decoder(max_classes=3)).eval()
    image, text, guidance = inputs(words=7)
    with torch.no_grad():
        kept = (decoder(image, text, guidance) != DROPPED).all(dim=(2, 3))
    best = torch.einsum(
        "behw,ke->bkhw", F.normalize(image, dim=1), F.normalize(text[:, 0], dim=-1)
    ).amax(dim=(2, 3))
    expected = torch.zeros_like(kept).scatter(1, best.topk(3, dim=1).indices, True)
    assert torch.equal(kept, expected)


@pytest.mark.parametrize("limit", [0, 3])
def test_prompts_of_a_word_are_averaged_as_released(tiny, limit):
    """Raw vectors; unit ones where words were chosen."""
    torch.manual_seed(0)
    decoder = CostAggregation(32, 3, tiny.decoder(max_classes=limit)).eval()
    image, _, guidance = inputs()
    text = torch.randn(3 + (limit > 0), 3, 32)
    text[:, 0] *= 5
    seen = []
    decoder.text.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        decoder(image, text, guidance)
    pooled = (F.normalize(text, dim=-1) if limit else text).mean(dim=1)
    wanted = F.normalize(pooled, dim=-1)
    found = torch.cat(seen)
    assert found.shape == (2, 3, 32)
    assert torch.cdist(found, wanted.expand(2, -1, -1)).amin(dim=-1).max() < 1e-5


def test_one_word_and_no_word(tiny):
    model = tiny.model().eval()
    model.set_vocabulary(["cat"])
    labels = model([{"image": tiny.batch()[0]["image"], "height": 20, "width": 30}])[0]
    assert labels["sem_seg_labels"].shape == (20, 30)
    assert labels["sem_seg_labels"].unique().tolist() == [0]
    with pytest.raises(UserError):
        model.set_vocabulary([])
    decoder = CostAggregation(32, 1, tiny.decoder())
    with pytest.raises(UserError, match="at least one word"):
        decoder(*inputs(words=0))


def test_windows_must_tile_the_grid(tiny):
    model = tiny.model(decoder=tiny.decoder(window=4)).eval()
    with pytest.raises(
        UserError, match="cannot be tiled by windows of .* choose a WINDOW or an IMAGE_SIZE"
    ):
        model([{"image": tiny.batch()[0]["image"]}])


def test_names_are_cut_and_synonyms_pooled(tiny):
    model = tiny.model().eval()
    model.set_vocabulary(["building, edifice", "cat|kitten"])
    assert model.prompts()[0] == "a building"
    if model.vocabulary.has_synonyms:
        with torch.no_grad():
            pooled = model.text_features()[1]
            tokens = model.text_encoder.tokenize(["a cat", "a kitten"])
            both = F.normalize(model.text_encoder(tokens), dim=-1)
        torch.testing.assert_close(pooled, F.normalize(both.sum(0, keepdim=True), dim=-1))


def test_text_is_encoded_once_per_vocabulary(tiny):
    model = tiny.model().eval()
    picture = {"image": tiny.batch()[0]["image"]}
    model([picture, picture])
    assert model.text_encoder.num_computed == len(tiny.words)
    model.set_vocabulary(["cat", "dog"])
    model([picture])
    model([picture])
    assert model.text_encoder.num_computed == len(tiny.words) + 2


def test_labels_are_the_argmax_of_scores(tiny):
    for protocol in (Whole(divisor=8, cut_padding=False), Slide(24, 16, (40, 40), with_whole=True)):
        model = tiny.perturb(tiny.model(protocol=protocol)).eval()
        picture = {"image": torch.randint(0, 256, (3, 30, 44)), "height": 33, "width": 47}
        labels = model([picture])[0]["sem_seg_labels"]
        model.output = "scores"
        scores = model([picture])[0]["sem_seg"]
        assert scores.shape == (5, 33, 47) and scores.min() >= 0 and scores.max() <= 1
        best = scores.gather(0, labels[None])[0]
        torch.testing.assert_close(best, scores.max(dim=0).values, rtol=0, atol=1e-6)


def test_binary_cross_entropy_counts_ignored_pixels_as_negatives():
    maps, targets = torch.randn(2, 4, 5, 5), torch.randint(0, 4, (2, 5, 5))
    targets[0, 0] = IGNORE
    one_hot = F.one_hot(targets.where(targets != IGNORE, 4), 5)[..., :4].permute(0, 3, 1, 2).float()
    expected = F.binary_cross_entropy_with_logits(maps, one_hot)
    torch.testing.assert_close(binary_cross_entropy(maps, targets), expected)


def test_cross_entropy_leaves_ignored_pixels_out():
    maps, targets = torch.randn(2, 4, 5, 5), torch.randint(0, 4, (2, 5, 5))
    targets[0, 0] = IGNORE
    expected = F.cross_entropy(maps, targets, ignore_index=IGNORE)
    torch.testing.assert_close(cross_entropy(maps, targets), expected)
    assert cross_entropy(maps, torch.full_like(targets, IGNORE)) == 0


def test_training_with_seen_words_alone(tiny):
    """Unseen classes neither are predicted nor count as anything but unlabelled."""
    model = tiny.model("freeze", seen_only=True).train()
    model.set_vocabulary(tiny.words, unseen=[1, 3])
    data = tiny.batch()
    loss = model.losses(data)["loss_sem_seg"]
    other = tiny.model("freeze").train()
    other.load_state_dict(model.state_dict())
    other.set_vocabulary([tiny.words[i] for i in (0, 2, 4)])
    table = torch.full((IGNORE + 1,), IGNORE)
    table[torch.tensor([0, 2, 4])] = torch.arange(3)
    for one in data:
        one["sem_seg"] = table[one["sem_seg"]]
    torch.testing.assert_close(other.losses(data)["loss_sem_seg"], loss)


def test_checkpoint_round_trip(tiny, tmp_path, images):
    model = tiny.perturb(tiny.model(cls=HCLIP)).eval()
    OVSCheckpointer(model, str(tmp_path)).save("model_final")
    other = tiny.model(cls=HCLIP).eval()
    logits(other, images)  # fills what is remembered between calls
    OVSCheckpointer(other).load(str(tmp_path / "model_final.pth"))
    torch.testing.assert_close(logits(other, images), logits(model, images), rtol=0, atol=0)


def test_checkpoint_of_the_suite_is_no_clip(tiny, tmp_path):
    OVSCheckpointer(tiny.model(cls=HCLIP), str(tmp_path)).save("model_final")
    with pytest.raises(UserError, match="MODEL.WEIGHTS"):
        read_weight_file(tmp_path / "model_final.pth")


def test_plain_clip_is_no_checkpoint(tiny, tmp_path):
    torch.save(tiny.clip().model.state_dict(), tmp_path / "clip.pth")
    with pytest.raises(UserError, match="MODEL.CLIP.PRETRAINED"):
        OVSCheckpointer(tiny.model(cls=HCLIP)).load(str(tmp_path / "clip.pth"))


def test_unknown_loss(tiny):
    with pytest.raises(UserError, match="bce, ce"):
        tiny.model(loss="focal")
