"""``KEEP_WORDS``: the words that look best in a picture, as if there were no others."""

import pytest
import torch
from torch.nn import functional as F

from hclip import HCLIP
from ovs_core.engine.config import load_cfg
from ovs_core.errors import UserError
from ovs_core.export.program import trace
from ovs_core.methods.configs import find_config
from ovs_core.modeling.protocols import MultiScaleFlip, Slide, Whole
from ovs_core.modeling.runtime import measure_agreement

KEPT = 2
WHOLE = Whole(divisor=8, cut_padding=False)
SLIDE = Slide(24, 16, (28, 40), with_whole=True, batch=2)


def pictures():
    """Two plain pictures whose best words differ."""
    colors = torch.randint(0, 256, (3, 3, 1, 1), generator=torch.Generator().manual_seed(1))
    return [{"image": one.float().expand(3, 30, 44)} for one in colors[::2]]


def build(tiny, protocol, **more):
    return tiny.perturb(tiny.model(protocol=protocol, **more)).eval()


@torch.no_grad()
def best_of(model, one):
    """Indices of the words with the largest cosine anywhere in the picture, written out."""
    seen, encode = [], model.encode
    model.encode = lambda images: seen.append(encode(images)) or seen[-1]
    model.encode_picture(one["image"])
    del model.encode
    text = model.text_features()[:, 0, :, None, None]
    cosines = [F.cosine_similarity(f.dense[:, None], text, dim=2).amax((0, 2, 3)) for f in seen]
    return torch.stack(cosines).amax(0).topk(KEPT).indices.sort().values


def of_words(model, words, one, output):
    model.output = output
    model.set_vocabulary(words)
    return next(iter(model([one])[0].values()))


@pytest.mark.parametrize(
    ("protocol", "loss"),
    [(WHOLE, "bce"), (SLIDE, "ce"), (MultiScaleFlip(WHOLE, (1.0, 0.75)), "bce")],
    ids=["whole", "slide", "scales"],
)
def test_kept_words_score_as_if_there_were_no_others(tiny, protocol, loss):
    model = build(tiny, protocol, loss=loss, keep_words=KEPT)
    one = pictures()[0]
    kept = best_of(model, one).tolist()
    dropped = [i for i in range(5) if i not in kept]
    scores, labels = (of_words(model, tiny.words, one, what) for what in ("scores", "labels"))
    with torch.no_grad():
        parts = [model.segment(one["image"], (30, 44)).classes(slice(i, i + 2)) for i in (0, 2)]
    alone = of_words(model, [tiny.words[i] for i in kept], one, "scores")
    assert scores.shape == (5, 30, 44)
    torch.testing.assert_close(scores[kept], alone, rtol=1e-4, atol=1e-5)
    assert scores[dropped].unique() == (-100 if loss == "ce" else torch.tensor(-100.0).sigmoid())
    assert torch.equal(labels, scores.argmax(0)) and set(labels.unique().tolist()) <= set(kept)
    assert torch.equal(torch.cat(parts), scores[:4])


@pytest.mark.parametrize("protocol", [WHOLE, SLIDE], ids=["whole", "slide"])
def test_a_batch_chooses_for_each_picture(tiny, protocol):
    model = build(tiny, protocol, keep_words=KEPT)
    together = model(pictures())
    for one, own in zip(pictures(), together, strict=True):
        assert torch.equal(model([one])[0]["sem_seg_labels"], own["sem_seg_labels"])
    if protocol is WHOLE:  # else it would not show that each picture has its own words
        first, second = (best_of(model, one).tolist() for one in pictures())
        assert first != second


def test_nothing_is_left_out_in_training_or_where_there_are_few_words(tiny):
    whole, few = build(tiny, WHOLE), build(tiny, WHOLE, keep_words=5)
    assert torch.equal(whole(pictures())[0]["sem_seg_labels"], few(pictures())[0]["sem_seg_labels"])
    few.keep_words = 1
    loss = few.train().losses(tiny.batch())["loss_sem_seg"]
    torch.testing.assert_close(loss, whole.train().losses(tiny.batch())["loss_sem_seg"])


def test_the_loss_is_measured_against_all_words(tiny):
    model = build(tiny, WHOLE, keep_words=1)
    shown = [(one["image"], (30, 44)) for one in pictures()]
    agreement = measure_agreement(model, shown)
    all_words = build(tiny, WHOLE)
    same = [
        (model([one])[0]["sem_seg_labels"] == all_words([one])[0]["sem_seg_labels"]).float().mean()
        for one in pictures()
    ]
    assert agreement.share == pytest.approx(float(torch.stack(same).mean()))
    assert agreement.share < 1
    assert "eager float32, MODEL.CATSEG.KEEP_WORDS 1" in str(agreement)
    assert model.keep_words == 1
    with pytest.raises(UserError, match="choose another value than MODEL.CATSEG.KEEP_WORDS 1, or"):
        agreement.check()


def test_a_program_of_all_pictures_is_refused(tiny):
    model = build(tiny, WHOLE, keep_words=1)
    with pytest.raises(UserError, match="KEEP_WORDS 1 chooses other words for every picture"):
        trace(model, pictures()[0]["image"], with_scores=False)
    assert "KEEP_WORDS 1" in model.open_obstacle()


def test_the_key_reaches_the_model():
    cfg = load_cfg(find_config("hclip/tiny"), ["MODEL.CATSEG.KEEP_WORDS", "7"])
    assert HCLIP.from_config(cfg)["keep_words"] == 7
    with pytest.raises(UserError, match="KEEP_WORDS"):
        load_cfg(find_config("hclip/tiny"), ["MODEL.CATSEG.KEEP_WORDS", "-1"])
