import contextlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from ovs_core.clip import ImageEncoder, load_clip
from ovs_core.clip.attention import value_block
from ovs_core.errors import UserError
from ovs_core.files.pictures import find_pictures, read_picture
from ovs_core.methods.configs import find_model
from ovs_core.modeling.segmenter import Segmenter
from ovs_core.predict.predictor import Predictor
from ovs_core.reports.benchmark import STAGES, benchmark
from ovs_core.words.vocabulary import Entry, Vocabulary


class ValueOnly(Segmenter):
    """Unit patch tokens of the value-only last block; counts how often pictures are encoded."""

    encoded = 0

    def encode(self, images):
        self.encoded += 1
        encoder = ImageEncoder(self.clip.visual)
        last = encoder.num_blocks - 1
        return F.normalize(encoder(images, blocks={last: value_block}).patches, dim=1)

    def score(self, features):
        return torch.einsum("kd,bdhw->bkhw", self.text_features(), features)


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setenv("OVSUITE_CACHE", str(tmp_path))
    clip = load_clip("embedded-vit", "random")
    return ValueOnly(clip=clip, templates=["a photo of a {}"]).eval()


PICTURE = np.random.default_rng(0).integers(0, 255, (48, 72, 3), dtype=np.uint8)


def test_a_result_carries_names_segments_and_pictures(model, tmp_path):
    result = Predictor(model)(PICTURE, "car|automobile, sky, grass")
    assert result.labels.shape == (48, 72)
    assert result.names == ["car", "sky", "grass"]
    segments = result.segments
    assert sum(s.area for s in segments) == 48 * 72
    assert segments == sorted(segments, key=lambda s: -s.area)
    for s in segments:
        left, top, right, bottom = s.box
        assert (result.labels[top:bottom, left:right] == s.index).sum() == s.area
    folder = result.save(tmp_path / "out", stem="x")
    assert np.array_equal(np.asarray(Image.open(folder / "x_labels.png")), result.labels)
    assert {p.name for p in folder.iterdir()} == {
        "x_labels.png", "x_overlay.png", "x_segments.json"
    }  # fmt: skip


def test_other_words_reuse_the_picture(model):
    predictor = Predictor(model)
    predictor(PICTURE, "car, sky")
    predictor(PICTURE, "tree, boat, sea")
    assert model.encoded == 1
    predictor(PICTURE[:, ::-1].copy(), "car, sky")
    assert model.encoded == 2


def test_lists_and_folders_keep_their_order(model, tmp_path):
    for name in ("b", "a"):
        Image.fromarray(PICTURE if name == "a" else PICTURE[:40]).save(tmp_path / f"{name}.png")
    predictor = Predictor(model)
    from_folder = list(predictor(tmp_path, ["car", "sky"]))
    assert [r.labels.shape for r in from_folder] == [(48, 72), (40, 72)]
    from_list = predictor([tmp_path / "a.png", PICTURE[:40]], ["car", "sky"])
    for a, b in zip(from_folder, from_list, strict=True):
        assert np.array_equal(a.labels, b.labels)


def test_resizing_the_input_keeps_the_output_size(model):
    result = Predictor(model, prepare=lambda image: image[::2, ::2])(PICTURE, "car, sky")
    assert result.labels.shape == (48, 72)


def test_one_word_and_many(model):
    assert (Predictor(model)(PICTURE, "car").labels == 0).all()
    names = [f"thing {i}" for i in range(300)]
    result = Predictor(model)(PICTURE, names)
    assert result.labels.max() < 300


@pytest.mark.parametrize(
    ("picture", "words", "message"),
    [
        (PICTURE, "", "vocabulary is empty"),
        (PICTURE, [], "vocabulary is empty"),
        (PICTURE, "car, car", "more than once"),
        (PICTURE, ["car", 5], "holds names, but got 5"),
        ("none.png", "car", "no such picture"),
        (np.zeros((4, 5000, 3), np.uint8), "car", "too narrow"),
    ],
)
def test_mistakes(model, picture, words, message):
    with pytest.raises(UserError, match=message):
        Predictor(model)(picture, words)


@pytest.mark.slow
def test_other_scripts_emoji_and_very_many_words(model):
    names = ["собака", "猫", "قط", "😀", "naïve café", *(f"thing {i}" for i in range(5000))]
    result = Predictor(model)(PICTURE, names)
    assert result.names == names
    assert result.labels.max() < 5005
    assert result.overlay().shape[2] == 3


def test_words_beyond_the_context_are_said(model, caplog):
    long = "very " * 60 + "long word"
    predictor = Predictor(model)
    for _ in range(2):  # said once, also when the embedding is known
        result = predictor(PICTURE, ["car", long])
    assert len([r for r in caplog.records if "too long for CLIP" in r.message]) == 1
    assert len(result.notes) == 1 and "very very" in result.notes[0]
    assert predictor(PICTURE, ["car", "sky"]).notes == ()


def test_a_folder_is_segmented_one_by_one(model, tmp_path):
    for name in "abc":
        Image.fromarray(PICTURE).save(tmp_path / f"{name}.png")
    (tmp_path / "d.png").write_bytes(b"broken")
    predictor = Predictor(model, remember=1)
    results = predictor(tmp_path, "car, sky")
    assert model.encoded == 0
    assert next(results).source == str(tmp_path / "a.png")
    assert model.encoded == 1
    predictor(PICTURE, "tree, boat")  # words of another call in between
    assert next(results).names == ["car", "sky"]
    next(results)
    with pytest.raises(UserError, match=r"d\.png: cannot be decoded"):
        next(results)


def test_a_strip_is_cut_and_joined(model):
    short = np.tile(PICTURE[:16], (1, 4, 1))  # 16 x 288, 18 times as long as wide
    result = Predictor(model)(short, "car, sky, grass")
    assert result.labels.shape == (16, 288)
    assert model.encoded == 5
    assert result.scores.shape == (3, 16, 288)
    assert np.array_equal(result.scores.argmax(0), result.labels)
    tall = Predictor(model)(short.transpose(1, 0, 2), "car, sky, grass")
    assert tall.labels.shape == (288, 16)


def test_one_pixel_has_a_label(model):
    result = Predictor(model)(np.full((1, 1, 3), 90, np.uint8), "car, sky")
    assert result.labels.shape == (1, 1)
    assert len(result.segments) == 1 and result.segments[0].share == 1


def test_scores_that_would_not_fit_are_refused(model, monkeypatch):
    monkeypatch.setattr("ovs_core.predict.rules.MAX_SCORE_BYTES", 4 * 3 * 48 * 72)
    predictor = Predictor(model)
    assert predictor(PICTURE, "car, sky, grass").scores.nbytes == 4 * 3 * 48 * 72
    with pytest.raises(UserError, match="scores of 4 words on 48 x 72 pixels would take"):
        _ = predictor(PICTURE, "car, sky, grass, sand").scores


def test_saving_replaces_own_results_only(model, tmp_path):
    predictor = Predictor(model)
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    first = predictor(tmp_path / "a.png", "car, sky")
    out = first.save(tmp_path / "out")
    predictor(tmp_path / "a.png", "car, sky, sand").save(out)  # the same picture, other words
    assert json.loads((out / "a_segments.json").read_text())["names"] == ["car", "sky", "sand"]
    other = predictor(PICTURE[::-1].copy(), "car, sky")
    with pytest.raises(UserError, match="holds the result of another picture"):
        other.save(out, "a")
    other.save(out, "a", overwrite=True)
    (out / "mine_labels.png").write_text("mine")
    with pytest.raises(UserError, match="mine_labels.png: exists and was not made by the suite"):
        other.save(out, "mine")
    assert (out / "mine_labels.png").read_text() == "mine"
    assert not [p for p in out.iterdir() if ".part" in p.name]


def test_background_words_are_one_and_stay_unpainted(model):
    names = ["car", "background: wall", "background: sand"]
    result = Predictor(model)(PICTURE, names)
    assert set(np.unique(result.labels)) <= {0, 1}
    wall = [s for s in result.segments if s.index == 1]
    assert all(s.is_background for s in wall)
    only = Predictor(model)(PICTURE, Vocabulary([Entry("wall", ("wall",), is_background=True)]))
    image = only.overlay(legend=False)
    enlarged = Image.fromarray(PICTURE).resize(image.shape[1::-1], Image.Resampling.BICUBIC)
    assert np.array_equal(image, np.asarray(enlarged))


def test_an_output_folder_names_a_model(tmp_path):
    config = tmp_path / "run" / "config.yaml"
    config.parent.mkdir()
    config.write_text("VERSION: 2\n")
    with pytest.raises(UserError, match="holds no checkpoint"):
        find_model(config.parent)
    (config.parent / "model_0000009.pth").write_bytes(b"")
    (config.parent / "last_checkpoint").write_text("model_0000009.pth")
    assert find_model(config.parent) == (config, str(config.parent / "model_0000009.pth"))
    with pytest.raises(UserError, match=r"no config\.yaml in it"):
        find_model(tmp_path)
    with pytest.raises(UserError, match="Did you mean 'cliptrase/tiny'"):
        find_model("cliptrase/tny")
    assert find_model("cliptrase/tiny")[1] == ""


def test_benchmark_reports_every_stage(model):
    model.set_vocabulary("car, sky, grass")
    picture = torch.from_numpy(PICTURE).permute(2, 0, 1)
    result = benchmark(model, picture, (96, 144), repeats=2, warmup=1)
    assert set(result["seconds"]) == set(STAGES)
    assert all(value > 0 for value in result["seconds"].values())
    assert result["ratio_to_bare_clip"] > 0
    assert result["encoded"] == [[1, 3, 48, 72]]
    assert result["words"] == 3
    assert result["peak_memory_mib"] >= 0


def test_notes_on_the_values_of_a_picture_reach_the_result(model, tmp_path):
    deep = PICTURE.astype(np.uint16) * 16
    Image.fromarray(deep[..., 0]).save(tmp_path / "a.png")
    predictor = Predictor(model)
    for result in (predictor(deep, "car, sky"), predictor(tmp_path / "a.png", "car, sky")):
        (note,) = result.notes
        assert "read as 12-bit" in note
    assert np.array_equal(predictor(deep, "car, sky").image, PICTURE)
    result.save(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "a_segments.json").read_text())["notes"] == [note]


def test_notes_on_the_words_reach_the_result(model):
    predictor = Predictor(model)
    (note,) = predictor(PICTURE, "car; sky").notes
    assert "';' was read as a separator" in note
    (note,) = predictor(PICTURE, "car, 猫, sky").notes
    assert note.endswith("English words do better: '猫'")
    assert predictor(PICTURE, "car, café, 🐶").notes == ()


def test_names_that_are_one_to_the_tower_are_refused(model):
    long = "a very long name " * 30
    with pytest.raises(UserError, match="are repeated: this CLIP's text tower sees the same"):
        Predictor(model)(PICTURE, [f"{long} cat", f"{long} dog"])


def test_a_folder_of_broken_pictures_gives_a_line_for_each(model, tmp_path):
    cases = Path(__file__).parents[2] / "data" / "cases" / "broken_pictures"
    readable = set()
    for path in find_pictures(cases):
        if path.stat().st_size and path.name != "flip1_f.gif":  # which is 60,000 pixels wide
            shutil.copy(path, tmp_path)
    for path in find_pictures(tmp_path):
        if path.name == "tall.png":
            continue  # is a picture, and too narrow to be segmented
        with contextlib.suppress(UserError):
            read_picture(path)
            readable.add(path.name)
    stream = Predictor(model)(tmp_path, "car, sky", on_error="skip")
    assert {Path(result.source).name for result in stream} == readable
    broken = {path.name for path in find_pictures(tmp_path)} - readable
    assert len(stream.failures) == len(broken) > 20
    assert all(sum(name in line for line in stream.failures) == 1 for name in broken)
