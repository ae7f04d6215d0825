"""The models behind the page, and what the page makes of their results."""

import base64
import errno
import io
import json
import os
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from ovs_core.draw import marks, overlay, palette
from ovs_core.errors import UserError
from ovs_core.predict.result import Result
from ovs_core.web import room as room_module
from ovs_core.web.actions import EMPTY, UNCHANGED, Actions
from ovs_core.web.archive import zip_attempts
from ovs_core.web.attempts import Asked, Attempt
from ovs_core.web.choices import Choice
from ovs_core.web.examples import COUNT, draw_examples, find_photographs
from ovs_core.web.limits import Limits
from ovs_core.web.room import ENCODING, LOADING, ModelRoom
from ovs_core.web.runs import WAITING, Run
from ovs_core.web.sessions import Visitors
from ovs_core.web.viewer import card, escape, lay_out, notice
from ovs_core.words.vocabulary import Vocabulary

NAMES = ["sky", "<b>car</b>", "wall"]
IMAGE = np.linspace((40, 90, 200), (220, 160, 30), 600).reshape(20, 30, 3).astype(np.uint8)
LABELS = np.zeros((20, 30), np.int32)
LABELS[5:15, 10:20] = 1
RESULT = Result(LABELS, NAMES, IMAGE, notes=("word cut",))
CHOICES = [Choice("one/tiny", "one/tiny", about="First."), Choice("two/tiny", "two/tiny")]


ASKED = Asked("ticket.png", "my <cat>.png", "sky, <b>car</b>, wall")


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


class Tab:
    """An open page, whose buttons are pressed."""

    def __init__(self, actions, visitors):
        self.actions, self.visitors = actions, visitors
        self.visitor = visitors.enter()
        visitors.claim(self.visitor, "tab")
        content = io.BytesIO()
        Image.fromarray(IMAGE).save(content, "PNG")
        self.picture = visitors.store(self.visitor, "cat.png", content.getvalue())

    def segment(self, words, *methods):
        return list(self.actions.segment(self.visitor, "tab", self.picture, words, *methods))

    def download(self, strength=0.5):
        return self.actions.download(self.visitor, "tab", strength)

    def file(self, record):
        return self.visitors.file(self.visitor, record["path"]).path


@pytest.fixture
def tab(room, tmp_path):
    visitors = Visitors(tmp_path)
    return Tab(Actions(room, Limits(), visitors), visitors)


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
    html = card(ASKED, Attempt(CHOICES[0], RESULT, 0.25, 1.5))
    photo, paint, numbers, drawn = images_of(html)[:4]
    assert np.array_equal(drawn, marks(LABELS, np.arange(3)))
    assert np.abs(photo.astype(int) - IMAGE).mean() < 4  # JPEG
    assert np.array_equal(paint, overlay(IMAGE, LABELS, palette(NAMES), strength=1.0))
    assert np.array_equal(read_back(numbers), LABELS)
    assert "0.25 s" in html and "1.5 s loading" in html and "First." in html
    assert "word cut" in html
    assert 'aria-label="my &lt;cat&gt;.png: sky 83 %, ' in html


def test_words_are_shown_as_typed_and_never_as_markup():
    html = lay_out(ASKED, [card(ASKED, Attempt(CHOICES[0], RESULT, 0.1))])
    assert "<b>car" not in html and html.count("&lt;b&gt;car") >= 3 and "<cat>" not in html
    assert escape("{{x}} ${y} \"'") == "&#123;&#123;x&#125;&#125; &#36;&#123;y&#125; &quot;&#x27;"
    assert "<script" not in notice("<script>")


def test_panoptic_results_show_segments_and_count_them():
    ids = np.where(LABELS == 1, 1, 2).astype(np.int32)
    ids[0] = 0
    info = [{"id": 1, "category_id": 0, "isthing": True}, {"id": 2, "category_id": 0, "isthing": 1}]
    result = Result(LABELS, NAMES, IMAGE, segment_ids=ids, segments_info=info)
    html = card(ASKED, Attempt(CHOICES[0], result, 0.1))
    _, paint, numbers = images_of(html)[:3]
    assert np.array_equal(numbers[..., 0], ids)
    assert np.array_equal(paint[10, 12], palette(NAMES)[0])
    assert 'data-owners="[-1, 0, 0]"' in html and "sky x2" in html


def test_a_large_picture_is_reduced_for_the_screen():
    labels = np.zeros((100, 3000), np.int32)
    labels[:, 1500:] = 300
    names = [f"w{n}" for n in range(301)]
    image = np.zeros((100, 3000, 3), np.uint8)
    result = Result(labels, names, image)
    _, _, numbers = images_of(card(ASKED, Attempt(CHOICES[0], result, 0.1)))[:3]
    assert numbers.shape == (43, 1280, 3)
    assert (read_back(numbers)[:, :640] == 0).all() and (read_back(numbers)[:, 640:] == 300).all()


def test_a_long_legend_is_folded():
    labels = np.arange(600, dtype=np.int32).reshape(20, 30) % 40
    result = Result(labels, [f"word {n}" for n in range(40)], IMAGE)
    html = card(ASKED, Attempt(CHOICES[0], result, 0.1))
    shown, folded = html.split("<details", 1)
    assert shown.count("data-index=") == 12 and folded.count("data-index=") == 28
    assert "28 more words" in folded and html.count("<li>") == 40


def test_methods_still_to_come_say_what_is_done_and_for_how_long():
    run = Run()
    run.enter(LOADING)
    failed = card(ASKED, Attempt(CHOICES[0], None, error="no weights"))
    html = lay_out(ASKED, [failed], [CHOICES[1], CHOICES[0]], run)
    assert "no weights" in html
    assert html.index(LOADING) < html.index(WAITING) and html.count("ovs-clock") == 1
    assert float(re.search(r'data-seconds="([\d.]+)"', html)[1]) < 60
    run.stop()
    html = lay_out(ASKED, [failed], CHOICES[1:], run)
    assert "stopped before it had finished" in html and "ovs-running" not in html


def test_a_layout_says_what_it_answers():
    html = lay_out(ASKED, [card(ASKED, Attempt(CHOICES[0], RESULT, 0.1))], run=Run())
    assert 'data-picture="ticket.png"' in html
    assert 'data-words="sky, &lt;b&gt;car&lt;/b&gt;, wall"' in html
    asked = re.search('<p class="ovs-asked">(.*?)</p>', html)[1]
    assert "my &lt;cat&gt;.png" in asked and "sky, &lt;b&gt;car" in asked
    long = card(Asked("t", "n", "word, " * 1000), Attempt(CHOICES[0], None))
    assert len(long) < 1500 and " ..." in long


def test_segmenting_shows_each_method_as_it_finishes(tab):
    shown = tab.segment("a, b", ["one/tiny"], ["two/tiny"])
    stages = [html.count("ovs-stage") for _, html in shown]
    assert stages == sorted(stages) and stages[0] == 0 and stages[-1] == 2
    assert [html.count("ovs-wait") for _, html in shown] == [2 - count for count in stages]
    assert all(message == "" for message, _ in shown)
    assert {state for _, html in shown for state in re.findall('role="status">([^<]+)<', html)} <= {
        WAITING, LOADING, ENCODING,
    }  # fmt: skip
    stem, attempts = tab.visitors.recall(tab.visitor, "tab")
    assert stem == "cat" and [attempt.choice for attempt in attempts] == CHOICES


def test_the_layers_of_a_card_are_files_of_the_visitor(tab):
    *_, (_, html) = tab.segment("a, b", ["one/tiny"])
    tickets = re.findall(r'src="gradio_api/file=([^"]+)"', html)
    files = [tab.visitors.file(tab.visitor, ticket).path for ticket in tickets]
    assert [path.suffix for path in files] == [".jpeg", ".png", ".png", ".png"]
    assert np.array_equal(read_back(np.asarray(Image.open(files[2]))), LABELS)


@pytest.mark.parametrize(
    ("words", "methods", "said"),
    [("", ["one/tiny"], "at least one word"), ("a", [], "at least one method")],
)
def test_wrong_input_gives_one_message_and_builds_no_model(tab, words, methods, said):
    ((message, kept),) = tab.segment(words, methods)
    assert said in message and 'role="alert"' in message and kept == UNCHANGED
    assert FakePredictor.built == 0 and tab.visitors.recall(tab.visitor, "tab") is None


def test_without_a_picture(tab):
    tab.picture = None
    ((message, _),) = tab.segment("a", ["one/tiny"])
    assert "add a picture first" in message


def test_an_upload_that_is_not_here_any_more(tab):
    tab.file({"path": tab.picture}).unlink()
    ((message, _),) = tab.segment("a", ["one/tiny"])
    assert "not here any more; add it again" in message


def test_a_picture_is_checked_when_it_arrives(tab):
    assert tab.actions.check(tab.visitor, "tab", tab.picture) == ""
    assert tab.actions.check(tab.visitor, "tab", None) == ""
    broken = tab.visitors.store(tab.visitor, "broken.png", b"no picture")
    message = tab.actions.check(tab.visitor, "tab", broken)
    assert "broken.png cannot be read as a picture" in message and 'role="alert"' in message


def test_a_broken_picture_ends_the_run_and_the_old_result_with_it(tab):
    tab.segment("a, b", ["one/tiny"])
    tab.picture = tab.visitors.store(tab.visitor, "broken.png", b"no picture")
    message, html = tab.segment("a, b", ["one/tiny"])[-1]
    assert "broken.png cannot be read as a picture" in message and html == EMPTY
    assert "segment a picture first" in tab.download()[0]


def test_the_download_holds_every_pixel_of_every_method(tab):
    tab.segment("a, b", ["one/tiny", "two/tiny"])
    message, record = tab.download(1.0)
    assert message == "" and record["orig_name"] == "cat_masks.zip"
    with zipfile.ZipFile(tab.file(record)) as archive:
        assert sorted(archive.namelist()) == [
            f"{folder}/cat_{part}"
            for folder in ("one_tiny", "two_tiny")
            for part in ("about.json", "labels.png", "overlay.png", "segments.json")
        ]
        labels = np.asarray(Image.open(archive.open("one_tiny/cat_labels.png")))
        about = json.loads(archive.read("one_tiny/cat_about.json"))
    assert np.array_equal(labels, LABELS)
    assert about["method"] == "one/tiny" and about["trained"] is True


def test_each_download_is_a_file_of_its_own(tab):
    tab.segment("a, b", ["one/tiny"])
    assert len({tab.download()[1]["path"] for _ in range(2)}) == 2


@pytest.mark.parametrize("strength", [None, "1", -0.1, 1.1, float("nan"), [1]])
def test_a_strength_that_the_slider_does_not_have(tab, strength):
    tab.segment("a, b", ["one/tiny"])
    message, record = tab.download(strength)
    assert "between 0 and 1" in message and record is None


def test_a_disk_that_fills_while_results_come(tab, monkeypatch):
    def full(visitor, name, content):
        raise UserError(f"{name} cannot be kept (No space left on device)")

    with monkeypatch.context() as patch:
        patch.setattr(tab.visitors, "store", full)
        *_, (_, html) = tab.segment("a, b", ["one/tiny"])
        assert "layer.jpeg cannot be kept (No space left on device)" in html
        message, record = tab.download()
        assert "cat_masks.zip cannot be kept" in message and record is None
    assert tab.download()[1] is not None  # the result was not lost
    monkeypatch.setattr("ovs_core.web.actions.zip_attempts", raise_full)
    message, record = tab.download()
    assert "folder for temporary files (No space left on device)" in message and record is None


def raise_full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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


def test_nothing_to_download_yet(tab):
    message, record = tab.download()
    assert "segment a picture first" in message and record is None


def test_photographs_come_first_where_a_method_sees_them():
    photographs = find_photographs()  # matplotlib, which Detectron2 needs, has one at least
    assert photographs and all(max(p.image.shape) <= 512 for p in photographs)
    assert "woman" in photographs[-1].words
    drawn, mixed = draw_examples(), draw_examples(photographs=True)
    assert len(drawn) == len(mixed) == COUNT
    assert [e.words for e in mixed[: len(photographs)]] == [p.words for p in photographs]
    assert mixed[len(photographs)].words == drawn[0].words
