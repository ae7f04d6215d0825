import io

import numpy as np
import pytest
from PIL import Image

from ovs_core.commands import main
from ovs_core.errors import UserError
from ovs_core.web.inputs import read_methods, read_upload, read_words
from ovs_core.web.limits import Limits
from ovs_core.web.sessions import Stored

LIMITS = Limits(megabytes=0.1, megapixels=0.5, words=5, texts=8, characters=200, word_characters=30)


def stored(path, name="photo.png"):
    return Stored(path, name, path.stat().st_size)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "stored_under_another_name.png"
    Image.new("RGB", (30, 20), (200, 10, 10)).save(path)
    return path


def test_a_picture_comes_with_the_stem_of_the_visitors_file(picture):
    upload = read_upload(stored(picture, "my cat.png"), LIMITS)
    assert upload.picture.rgb.shape == (20, 30, 3) and (upload.picture.rgb == (200, 10, 10)).all()
    assert upload.stem == "my cat"


def test_a_large_file_is_refused_by_its_size(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(bytes(200_000))
    with pytest.raises(UserError, match=r"photo.png has 0.2 MB; this page takes up to 0.1 MB"):
        read_upload(stored(path), LIMITS)


def test_many_pixels_in_a_small_file_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    Image.new("L", (1000, 600)).save(path)
    monkeypatch.setattr("ovs_core.web.inputs.load_picture", lambda _: pytest.fail("unpacked"))
    with pytest.raises(UserError, match="photo.png has 0.6 million pixels"):
        read_upload(stored(path), LIMITS)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # what Pillow itself refuses
    with pytest.raises(UserError, match=r"photo.png has more than 0\.002 million pixels"):
        read_upload(stored(path), LIMITS)


def cut_off_png():
    packed = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(packed, "PNG")
    return packed.getvalue()[:3000]


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", cut_off_png()])
def test_a_broken_picture_is_named_as_the_visitor_knows_it(tmp_path, content):
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(UserError, match="photo.png") as caught:
        read_upload(stored(path), LIMITS)
    assert str(tmp_path) not in str(caught.value)


def test_words_take_commas_lines_synonyms_and_background():
    words = read_words("sofa|couch, black cat\nbackground: wall,\n", LIMITS)
    assert words.names == ["sofa", "black cat", "wall"]
    assert words[0].synonyms == ("sofa", "couch") and words.background_index == [2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "at least one word"),
        (" , \n ,", "at least one word"),
        ("cat, Cat", "more than once"),
        ("cat||dog", "empty name"),
        ("cat,,dog", "empty name"),
        ("a,b,c,d,e,f", "6 words are more than this page takes"),
        ("a|b|c|d|e|f|g|h|i", "9 synonyms are more than this page takes"),
        ("x" * 201, "201 characters are more than this page takes"),
        (",\n" * 11 + "a", "22 words are more than this page takes"),
        ("cat|" + "x" * 31, "has 31 characters; a word may have 30"),
        ("cat, \ud800", "half of a character"),
        (["cat"], "words are text"),
        (5, "words are text"),
    ],
)
def test_mistakes_in_the_words(text, said):
    with pytest.raises(UserError, match=said):
        read_words(text, LIMITS)


def test_words_never_name_a_file_of_this_machine(tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("password\n")
    assert read_words(str(secret), Limits()).names == [str(secret)]


def test_methods_are_lists_of_names():
    assert read_methods([["a"], None, ["b", "c"]]) == ["a", "b", "c"]
    for wrong in ("a", [5], [None], [["a"]], 5, {"a": 1}):
        with pytest.raises(UserError, match="methods are names"):
            read_methods([wrong])


@pytest.mark.parametrize(
    ("argv", "variable", "megapixels", "opened"),
    [
        (["--max-pixels", "1"], "", 1, True),  # above what Pillow opens
        (["--max-pixels", "1"], "0.001", 1, True),
        (["--max-pixels", "0.5"], "", 0.5, False),
        ([], "0.7", 0.7, True),
        ([], "0.5", 0.5, False),
        ([], "", 25, False),  # Pillow's own limit, lowered below, is met
    ],
)
def test_one_limit_of_pixels_for_page_and_command(
    argv, variable, megapixels, opened, tmp_path, monkeypatch
):
    path, given = tmp_path / "x.png", []
    Image.new("L", (1000, 600)).save(path)
    monkeypatch.setenv("OVSUITE_MAX_PIXELS", variable)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setattr("ovs_core.web.server.require_gradio", lambda: None)
    monkeypatch.setattr("ovs_core.web.choices.found_choices", list)
    monkeypatch.setattr("ovs_core.web.server.serve", lambda _, settings: given.append(settings))
    assert main(["web", *argv]) == 0
    limits = given[0].limits
    assert limits.megapixels == megapixels
    if opened:
        assert read_upload(stored(path), limits).picture.rgb.shape == (600, 1000, 3)
    else:
        with pytest.raises(UserError, match="million pixels; this page takes up to"):
            read_upload(stored(path), limits)
