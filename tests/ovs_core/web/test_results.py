"""The models behind the page, and what the page makes of their results."""

import base64
import io
import json
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from ovs_core.draw import overlay, palette
from ovs_core.errors import UserError
from ovs_core.predict.result import Result
from ovs_core.web import room as room_module
from ovs_core.web.archive import zip_attempts
from ovs_core.web.choices import Choice
from ovs_core.web.inputs import Limits
from ovs_core.web.page import Actions
from ovs_core.web.room import Attempt, ModelRoom
from ovs_core.web.viewer import cards, escape, notice
from ovs_core.words.vocabulary import Vocabulary

NAMES = ["sky", "<b>car</b>", "wall"]
IMAGE = np.linspace((40, 90, 200), (220, 160, 30), 600).reshape(20, 30, 3).astype(np.uint8)
LABELS = np.zeros((20, 30), np.int32)
LABELS[5:15, 10:20] = 1
RESULT = Result(LABELS, NAMES, IMAGE, notes=("word cut",))
CHOICES = [Choice("one/tiny", "one/tiny", about="First."), Choice("two/tiny", "two/tiny")]


class FakePredictor:
    built = 0

    def __init__(self, config):
        self.config = config

    @classmethod
    def from_config(cls, config, *, weights, device, options):
        cls.built += 1
        return cls(config)

    def __call__(self, picture, words):
        image = getattr(picture, "rgb", picture)
        if self.config == "two/tiny" and "bomb" in words.names:
            raise ZeroDivisionError("inner secret")
        if "bad" in words.names:
            raise UserError("cannot do that")
        return Result(LABELS[: len(image)], words.names * 2, image)


@pytest.fixture
def room(monkeypatch):
    monkeypatch.setattr(room_module, "Predictor", FakePredictor)
    monkeypatch.setattr(FakePredictor, "built", 0)
    return ModelRoom(CHOICES)


@pytest.fixture
def actions(room, tmp_path):
    return Actions(room, Limits(), tmp_path)


@pytest.fixture
def picture(tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "stored.png")
    return {"path": str(tmp_path / "stored.png"), "orig_name": "cat.png"}


def images_of(html):
    found = re.findall(r'src="data:image/\w+;base64,([^"]+)"', html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(code)))) for code in found]


def read_back(numbers):
    """As the page's script does."""
    return numbers.astype(int) @ (1, 256, 0)


def test_a_model_is_built_once_and_its_time_told_once(room):
    words = Vocabulary.parse("a, b")
    first = room.segment(CHOICES[0], IMAGE, words)
    second = room.segment(CHOICES[0], IMAGE, words)
    assert FakePredictor.built == 1
    assert first.loading > 0 and second.loading == 0 and second.seconds > 0


def test_an_error_becomes_an_outcome_and_a_trace_goes_to_the_terminal_only(room, caplog):
    bad = room.segment(CHOICES[0], IMAGE, Vocabulary.parse("bad"))
    assert bad.result is None and bad.error == "cannot do that"
    broken = room.segment(CHOICES[1], IMAGE, Vocabulary.parse("bomb"))
    assert broken.result is None and "secret" not in broken.error
    assert "inner secret" in caplog.text


def test_methods_come_in_the_order_of_the_offer(room):
    assert room.pick(["two/tiny", "one/tiny"]) == CHOICES
    with pytest.raises(UserError, match="pick at least one method"):
        room.pick([])
    with pytest.raises(UserError, match="'three' is not on offer"):
        room.pick(["three"])


def test_a_card_holds_picture_paint_and_a_map_that_can_be_read_back():
    html = cards([Attempt(CHOICES[0], RESULT, 0.25, 1.5)])
    photo, paint, numbers = images_of(html)
    assert np.abs(photo.astype(int) - IMAGE).mean() < 4  # JPEG
    assert np.array_equal(paint, overlay(IMAGE, LABELS, palette(NAMES), strength=1.0))
    assert np.array_equal(read_back(numbers), LABELS)
    assert "0.25 s" in html and "1.5 s loading" in html and "First." in html
    assert "word cut" in html and 'aria-label="sky 83 %, ' in html


def test_words_are_shown_as_typed_and_never_as_markup():
    html = cards([Attempt(CHOICES[0], RESULT, 0.1)])
    assert "<b>car" not in html and "&lt;b&gt;car" in html
    assert escape("{{x}} ${y} \"'") == "&#123;&#123;x&#125;&#125; &#36;&#123;y&#125; &quot;&#x27;"
    assert "<script" not in notice("<script>")


def test_panoptic_results_show_segments_and_count_them():
    ids = np.where(LABELS == 1, 1, 2).astype(np.int32)
    ids[0] = 0
    info = [{"id": 1, "category_id": 0, "isthing": True}, {"id": 2, "category_id": 0, "isthing": 1}]
    result = Result(LABELS, NAMES, IMAGE, segment_ids=ids, segments_info=info)
    html = cards([Attempt(CHOICES[0], result, 0.1)])
    _, paint, numbers = images_of(html)
    assert np.array_equal(numbers[..., 0], ids)
    assert np.array_equal(paint[10, 12], palette(NAMES)[0])
    assert 'data-owners="[-1, 0, 0]"' in html and "sky x2" in html


def test_a_large_picture_is_reduced_for_the_screen():
    labels = np.zeros((100, 3000), np.int32)
    labels[:, 1500:] = 300
    names = [f"w{n}" for n in range(301)]
    image = np.zeros((100, 3000, 3), np.uint8)
    result = Result(labels, names, image)
    _, _, numbers = images_of(cards([Attempt(CHOICES[0], result, 0.1)]))
    assert numbers.shape == (43, 1280, 3)
    assert (read_back(numbers)[:, :640] == 0).all() and (read_back(numbers)[:, 640:] == 300).all()


def test_methods_still_to_come_wait_visibly():
    html = cards([Attempt(CHOICES[0], None, error="no weights")], CHOICES[1:])
    assert "no weights" in html and "running" in html and "two/tiny" in html


def test_segmenting_shows_each_method_as_it_finishes(actions, picture):
    shown = list(actions.segment(picture, "a, b", ["one/tiny"], ["two/tiny"]))
    assert [html.count("ovs-stage") for _, html, _ in shown] == [0, 1, 2]
    assert [html.count("ovs-wait") for _, html, _ in shown] == [2, 1, 0]
    assert all(message == "" for message, _, _ in shown)
    # Each message has its own list: one that was sent does not grow with the next method.
    assert [made and (made[0], [a.choice for a in made[1]]) for *_, made in shown] == [
        None, ("cat", CHOICES[:1]), ("cat", CHOICES)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "methods", "said"),
    [("", ["one/tiny"], "at least one word"), ("a", [], "at least one method")],
)
def test_wrong_input_gives_one_message_and_builds_no_model(actions, picture, words, methods, said):
    ((message, _, made),) = actions.segment(picture, words, methods)
    assert said in message and 'role="alert"' in message and made is None
    assert FakePredictor.built == 0


def test_the_download_holds_every_pixel_of_every_method(actions, picture):
    *_, (_, _, made) = actions.segment(picture, "a, b", ["one/tiny", "two/tiny"])
    message, path = actions.download(made, 1.0)
    assert message == "" and path.endswith("cat_masks.zip")
    with zipfile.ZipFile(path) as archive:
        assert sorted(archive.namelist()) == [
            f"{folder}/cat_{part}"
            for folder in ("one_tiny", "two_tiny")
            for part in ("about.json", "labels.png", "overlay.png", "segments.json")
        ]
        labels = np.asarray(Image.open(archive.open("one_tiny/cat_labels.png")))
        about = json.loads(archive.read("one_tiny/cat_about.json"))
    assert np.array_equal(labels, LABELS)
    assert about["method"] == "one/tiny" and about["trained"] is True


def test_visitors_with_pictures_of_one_name_get_their_own_masks(actions, picture):
    *_, (_, _, made) = actions.segment(picture, "a, b", ["one/tiny"])
    paths = {actions.download(made, 1.0)[1] for _ in range(2)}
    assert len(paths) == 2 and all(path.endswith("/cat_masks.zip") for path in paths)


def test_the_strength_of_the_download_is_that_of_the_page():
    attempt = Attempt(CHOICES[0], RESULT, 0.1)
    pictures = []
    for strength in (0.0, 1.0):
        packed = zip_attempts([attempt, Attempt(CHOICES[1], None)], "x", strength)
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            assert len(archive.namelist()) == 4
            pictures.append(np.asarray(Image.open(archive.open("one_tiny/x_overlay.png"))))
    assert np.array_equal(pictures[0].shape, pictures[1].shape)
    assert not np.array_equal(*pictures)


def test_nothing_to_download_yet(actions):
    message, path = actions.download(None, 0.5)
    assert "segment a picture first" in message and path is None
