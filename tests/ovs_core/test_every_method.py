"""Every method and baseline that runs on the embedded CLIP answers a person in the same way."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from ovs_core import Predictor, list_configs, list_methods
from ovs_core.commands import main
from ovs_core.data.build import build_mapper
from ovs_core.engine.config import load_cfg
from ovs_core.errors import UserError
from ovs_core.methods.configs import find_config
from ovs_core.web.choices import Choice
from ovs_core.web.room import ModelRoom
from ovs_core.words.vocabulary import Vocabulary

TINY = [name for name in list_configs() if name.split("/")[1].startswith("tiny")]
WORDS = ["car|automobile", "sky", "grass", "background: brick wall", "background: sand"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OVSUITE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def picture():
    coarse = np.random.default_rng(0).integers(0, 255, (6, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((144, 96), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module", params=TINY)
def predictor(request, cache):
    torch.manual_seed(0)
    made = Predictor.from_config(request.param, device="cpu")
    made.config = request.param
    return made


def count_encoded(predictor, monkeypatch):
    calls, encode = [], predictor.model.encode_picture

    def counting(picture):
        calls.append(tuple(picture.shape))
        return encode(picture)

    monkeypatch.setattr(predictor.model, "encode_picture", counting)
    return calls


def test_every_method_has_a_config_for_the_embedded_world():
    assert {name.split("/")[0] for name in TINY} == set(list_methods())
    assert len(list_methods()) >= 5


def test_the_same_answers(predictor, picture, tmp_path):
    result = predictor(picture, WORDS)
    assert result.labels.shape == picture.shape[:2] and result.labels.dtype == np.int32
    assert result.names == ["car", "sky", "grass", "brick wall", "sand"]
    assert 0 <= result.labels.min() and result.labels.max() < 4  # both background words are one
    segments = result.segments
    assert segments or result.segment_ids is not None  # untrained masks may all be void
    assert all(s.name == result.names[s.index] for s in segments)
    assert [s.area for s in segments] == sorted((s.area for s in segments), reverse=True)
    for segment in segments:
        left, top, right, bottom = segment.box
        ids, number = result.labels, segment.index
        if result.segment_ids is not None:
            ids, number = result.segment_ids, segment.id
        assert (ids == number).sum() == segment.area
        assert (ids[top:bottom, left:right] == number).sum() == segment.area
    shown = result.overlay()
    assert shown.dtype == np.uint8 and shown.shape[1] >= 432  # 144 pixels, enlarged three times
    assert np.array_equal(shown, predictor(picture, WORDS).overlay())
    result.save(tmp_path, "one")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "one_labels.png")), result.labels)
    listed = json.loads((tmp_path / "one_segments.json").read_text())
    assert len(listed["segments"]) == len(segments) and listed["names"] == result.names
    assert (tmp_path / "one_segment_ids.png").exists() == (result.segment_ids is not None)


def test_scores_decide_the_labels_or_are_refused(predictor, picture):
    result = predictor(picture, WORDS)
    try:
        scores = result.scores
    except UserError as error:
        assert "decides per region" in str(error)
        assert not predictor.model.trains  # only voting over regions has none
        return
    assert scores.shape == (5, 96, 144) and scores.dtype == np.float32
    best = np.minimum(scores.argmax(axis=0), 3)  # the background words are counted together
    assert (best == result.labels).mean() > 0.999


def test_other_words_reuse_the_picture(predictor, picture, monkeypatch):
    other = picture[::-1].copy()  # not seen by the tests above
    encoded = count_encoded(predictor, monkeypatch)
    first = predictor(other, ["car", "sky"])
    second = predictor(other, ["tree", "boat", "sea"])
    assert len(encoded) == 1
    monkeypatch.undo()
    fresh = Predictor(predictor.model, prepare=predictor._prepare)
    assert np.array_equal(fresh(other, ["tree", "boat", "sea"]).labels, second.labels)
    assert first.names != second.names


@pytest.mark.parametrize("shape", [(1, 1), (170, 20)])
def test_pictures_of_unusual_shape(predictor, shape):
    picture = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    result = predictor(picture, ["car", "sky", "grass"])
    assert result.labels.shape == shape
    assert sum(segment.area for segment in result.segments) <= shape[0] * shape[1]
    assert result.overlay().ndim == 3


def test_a_picture_is_labelled_as_in_an_evaluation(predictor, tmp_path, picture):
    """The predictor shows a picture as the test mapper of the config does."""
    cfg = load_cfg(find_config(predictor.config))
    Image.fromarray(picture).save(tmp_path / "a.png")
    sample = build_mapper(cfg, is_train=False)({"file_name": str(tmp_path / "a.png")})
    result = predictor(tmp_path / "a.png", "car, sky, grass")
    (expected,) = predictor.model([sample])
    assert np.array_equal(result.labels, expected["sem_seg_labels"].cpu().numpy())


def test_the_network_is_shown_what_the_model_says(predictor, picture):
    """The floor of a benchmark runs on ``encoder_inputs``; they are what its first layers get."""
    model, seen = predictor.model, []
    layers = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    hooks = [
        layer.register_forward_pre_hook(lambda layer, inputs: seen.append((layer, inputs[0])))
        for layer in layers
        if layer.in_channels == 3
    ]
    image = torch.from_numpy(picture.transpose(2, 0, 1).copy())
    with torch.no_grad():
        predictor(picture, WORDS)  # words are set; pictures that are kept are not encoded again
        seen.clear()
        model.segment(image, (96, 144))
        whole = list(seen)
        stated = model.encoder_inputs(image)
        seen.clear()
        for batch in stated:
            model.bare_forward(batch)
        for hook in hooks:
            hook.remove()
    floor = {layer for layer, _ in seen}
    assert floor and stated
    for first in floor:
        shown = [batch for layer, batch in whole if layer is first]
        assert all(torch.equal(*pair) for pair in zip(shown, stated, strict=True))


def test_a_batch_is_segmented_as_one_by_one(predictor, picture, monkeypatch):
    pictures = [picture, picture[:, ::-1].copy()]
    alone = [predictor(one, WORDS) for one in pictures]
    predictor.forget()
    encoded, encode = [], predictor.model.encode
    single = count_encoded(predictor, monkeypatch)
    monkeypatch.setattr(
        predictor.model, "encode", lambda x, **more: encoded.append(len(x)) or encode(x, **more)
    )
    together = list(predictor(pictures, WORDS, batch=2))
    assert not single and all(n > 1 for n in encoded)  # both, or the windows of one, at once
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.labels, other.labels)
        assert (one.segment_ids is None) == (other.segment_ids is None)
        if one.segment_ids is not None:
            assert np.array_equal(one.segment_ids, other.segment_ids)


def test_shards_sheets_and_the_page_give_the_same_labels(predictor, picture, tmp_path, monkeypatch):
    monkeypatch.setattr(Predictor, "from_config", lambda *_, **__: predictor)
    (tmp_path / "pictures").mkdir()
    pictures = {"a": picture, "b": picture[:, ::-1].copy(), "c": picture[::-1].copy()}
    for name, one in pictures.items():
        Image.fromarray(one).save(tmp_path / "pictures" / f"{name}.png")
    expected = {name: predictor(one, WORDS).labels for name, one in pictures.items()}
    asked = [str(tmp_path / "pictures"), "--words", ", ".join(WORDS)]
    for part in ("1/2", "2/2"):
        assert main(["segment", *asked, "--method", predictor.config, "--shard", part,
                     "--output", str(tmp_path / "parts")]) == 0  # fmt: skip
    for name, labels in expected.items():
        written = np.asarray(Image.open(tmp_path / "parts" / f"{name}_labels.png"))
        assert np.array_equal(written, labels)
    assert main(["compare", *asked, "--methods", predictor.config,
                 "--output", str(tmp_path / "compared")]) == 0  # fmt: skip
    with Image.open(tmp_path / "compared" / "sheet.png") as sheet:
        assert sheet.width > 2 * 144 and sheet.height > 3 * 96
    choice = Choice(predictor.config, predictor.config)
    attempt = ModelRoom([choice], "cpu").segment(choice, picture, Vocabulary.parse(WORDS))
    assert not attempt.error and np.array_equal(attempt.result.labels, expected["a"])
