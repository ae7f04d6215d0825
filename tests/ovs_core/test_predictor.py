import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from ovs_core.benchmark import STAGES, benchmark
from ovs_core.clip import ImageEncoder, load_clip
from ovs_core.clip.attention import value_block
from ovs_core.errors import UserError
from ovs_core.modeling.segmenter import Segmenter
from ovs_core.predictor import Predictor


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
        (PICTURE, "car, car", "more than once"),
        ("none.png", "car", "no such picture"),
        (np.zeros((4, 5000, 3), np.uint8), "car", "too narrow"),
    ],
)
def test_mistakes(model, picture, words, message):
    with pytest.raises(UserError, match=message):
        Predictor(model)(picture, words)


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
