"""The page in a real browser: upload, type, click, and look at what is on the screen."""

import io
import json
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovs_core import Predictor
from ovs_core.data.embedded import render_scene
from ovs_core.draw import palette

WORDS = "snow, hat|top hat, stone|cobblestones, sand|beach"
NAMES = ["snow", "hat", "stone", "sand"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scene():
    return render_scene(1_000_044, (240, 320)).image


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The real command, in a folder and with a cache of its own."""
    pytest.importorskip("gradio", reason="gradio is not installed: pip install -e '.[web]'")
    command = [sys.executable, "-m", "ovs_core", "web", "--port", "7990", "--max-upload", "0.5"]
    folder = tmp_path_factory.mktemp("web")
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    line = server.stdout.readline()
    assert line.startswith("http://127.0.0.1:"), line
    yield line.split()[0]
    server.send_signal(signal.SIGINT)
    assert server.wait(60) == 0


@pytest.fixture
def page(address, open_window):
    return open_window(address).open()


def upload(page, image, name="my scene.png"):
    packed = io.BytesIO()
    Image.fromarray(image).save(packed, "PNG")
    record = {"name": name, "mimeType": "image/png", "buffer": packed.getvalue()}
    page.set_input_files("#ovs-picture input[type=file]", record)
    page.wait_for_selector("#ovs-picture img")


def press_segment(page, words):
    page.fill("#ovs-words textarea", words)
    page.click("#ovs-go")


def look_at(stage):
    """What the screen shows of a result: (h, w, 3)."""
    return np.asarray(Image.open(io.BytesIO(stage.screenshot())).convert("RGB")).astype(int)


def inner_spots(labels, count=12):
    """(y, x) shares of the height and width, away from borders, at least one of each label."""
    calm = np.ones(labels.shape, bool)
    for axis in (0, 1):
        for shift in range(-6, 7):
            calm &= np.roll(labels, shift, axis) == labels
    calm[:12], calm[-12:], calm[:, :12], calm[:, -12:] = False, False, False, False
    spots, rng = [], np.random.default_rng(0)
    for index in np.unique(labels[calm]):
        found = np.argwhere(calm & (labels == index))
        spots += found[rng.choice(len(found), min(len(found), count), replace=False)].tolist()
    return spots


def test_two_methods_side_by_side(page, scene):
    upload(page, scene)
    boxes = page.locator(".ovs-methods input[type=checkbox]")
    methods = page.locator(".ovs-methods label").all_text_contents()[:3]
    methods = [method.strip() for method in methods]
    assert boxes.nth(0).is_checked() and boxes.nth(1).is_checked()
    boxes.nth(1).uncheck()
    boxes.nth(2).check()
    press_segment(page, WORDS)
    page.wait_for_function("document.querySelectorAll('.ovs-stage').length == 2")
    chosen = [methods[0], methods[2]]
    assert page.locator(".ovs-card h3").all_text_contents() == chosen
    results = [Predictor.from_config(method)(scene, WORDS) for method in chosen]
    for number, result in enumerate(results):
        check_legend(page, number, result)
        check_names_under_the_pointer(page, number, results)
        check_pixels(page, number, result)
    check_picking_out(page, results[0])
    check_hatching(page)
    check_download(page, chosen, results)


def check_legend(page, number, result):
    shown = page.locator(".ovs-legend").nth(number).locator("button").all_text_contents()
    expected = [segment.name for segment in result.segments]
    assert [re.split(r"\s+(?:\d|<)", text.strip())[0] for text in shown] == expected
    assert re.fullmatch(r"\d+\.\d\d s.*", page.locator(".ovs-time").nth(number).text_content())


def check_names_under_the_pointer(page, number, results):
    """Pointing at one method's picture names the spot in both."""
    stage = page.locator(".ovs-stage").nth(number)
    box, labels = stage.bounding_box(), results[number].labels
    calm = spots_of(results)
    both_calm = [s for s in inner_spots(labels, 4) if tuple(s) in calm]
    assert both_calm
    for y, x in both_calm:
        at = {"x": (x + 0.5) / labels.shape[1] * box["width"],
              "y": (y + 0.5) / labels.shape[0] * box["height"]}  # fmt: skip
        stage.hover(position=at)
        tips = page.locator(".ovs-tip").all_text_contents()
        assert tips == [NAMES[result.labels[y, x]] for result in results]
        tip = page.locator(".ovs-tip").nth(number)
        assert tip.is_visible()
        place = tip.bounding_box()
        assert abs(place["x"] + place["width"] / 2 - box["x"] - at["x"]) < 100
        assert abs(place["y"] + place["height"] / 2 - box["y"] - at["y"]) < 60
    page.mouse.move(2, 2)


def spots_of(results):
    return set.intersection(
        *({tuple(spot) for spot in inner_spots(result.labels, 10**9)} for result in results)
    )


def check_pixels(page, number, result):
    """The colours on the screen, at the strength of the slider, are those of the renderer."""
    stage = page.locator(".ovs-stage").nth(number)
    slider = page.locator("#ovs-strength input[type=range]")
    colors = palette(result.names).astype(int)
    for key, strength in (("Home", 0.0), ("End", 1.0)):
        slider.press(key)
        page.wait_for_function(
            "s => getComputedStyle(document.querySelector('.ovs-paint')).opacity == s", arg=strength
        )
        screen = look_at(stage)
        for y, x in inner_spots(result.labels):
            row = int((y + 0.5) / result.labels.shape[0] * screen.shape[0])
            column = int((x + 0.5) / result.labels.shape[1] * screen.shape[1])
            around = screen[row - 1 : row + 2, column - 1 : column + 2].mean((0, 1))
            photo = result.image[y - 1 : y + 2, x - 1 : x + 2].mean((0, 1))
            expected = colors[result.labels[y, x]] if strength else photo
            assert np.abs(around - expected).max() < (6 if strength else 60)


def check_picking_out(page, result):
    """A word under the pointer in the legend dims what bears another name."""
    stage = page.locator(".ovs-stage").first
    before = look_at(stage)
    page.locator(".ovs-legend").first.locator("button").first.hover()
    page.wait_for_selector(".ovs-dim")
    after = look_at(stage)
    chosen = result.segments[0].index
    for y, x in inner_spots(result.labels):
        row = int((y + 0.5) / result.labels.shape[0] * before.shape[0])
        column = int((x + 0.5) / result.labels.shape[1] * before.shape[1])
        kept = np.abs(after[row, column] - before[row, column]).max() < 4
        assert kept == (result.labels[y, x] == chosen)
    page.mouse.move(2, 2)
    page.wait_for_selector(".ovs-dim", state="detached")


def check_hatching(page):
    drawn = page.locator(".ovs-stage .ovs-marks").first
    assert not drawn.is_visible()
    page.locator("#ovs-hatched input").check()
    drawn.wait_for(state="visible")
    page.locator("#ovs-hatched input").uncheck()
    drawn.wait_for(state="hidden")


def check_download(page, methods, results):
    with page.expect_download() as caught:
        page.click("#ovs-download")
    assert caught.value.suggested_filename == "my scene_masks.zip"
    with zipfile.ZipFile(Path(caught.value.path())) as archive:
        for method, result in zip(methods, results, strict=True):
            folder = method.replace("/", "_")
            labels = np.asarray(Image.open(archive.open(f"{folder}/my scene_labels.png")))
            assert np.array_equal(labels, result.labels)
            listed = json.loads(archive.read(f"{folder}/my scene_segments.json"))
            assert listed["names"] == NAMES
            assert [s["area"] for s in listed["segments"]] == [s.area for s in result.segments]


def test_wrong_input_is_answered_on_the_page(page, scene):
    def message():
        page.wait_for_selector("#ovs-message [role=alert]")
        return page.locator("#ovs-message").text_content()

    press_segment(page, "cat, dog")
    assert "add a picture first" in message()
    upload(page, scene)
    press_segment(page, "cat, dog, cat")
    page.wait_for_function("document.querySelector('#ovs-message').textContent.includes('cat')")
    assert "'cat' more than once" in message()
    page.get_by_role("button", name="Remove").or_(page.get_by_label("Clear")).first.click()
    record = {"name": "broken.png", "mimeType": "image/png", "buffer": b"no picture"}
    page.set_input_files("#ovs-picture input[type=file]", record)
    page.wait_for_function("document.querySelector('#ovs-message').textContent.includes('broken')")
    assert "broken.png cannot be read as a picture" in message()
    press_segment(page, "cat, dog")
    page.wait_for_function("document.querySelector('#ovs-results .ovs-empty')")
    assert "broken.png cannot be read as a picture" in message()
    assert page.locator(".ovs-card").count() == 0
    assert "Traceback" not in page.content()


def test_a_file_over_the_limit_is_refused(page):
    noise = np.random.default_rng(0).integers(0, 255, (500, 500, 3), dtype=np.uint8)
    packed = io.BytesIO()
    Image.fromarray(noise).save(packed, "PNG")
    record = {"name": "huge.png", "mimeType": "image/png", "buffer": packed.getvalue()}
    page.set_input_files("#ovs-picture input[type=file]", record)
    page.wait_for_selector(".toast-body")
    assert "exceed the maximum allowed size" in page.locator(".toast-body").first.text_content()


def test_words_cannot_become_markup(page, scene):
    upload(page, scene)
    press_segment(page, "<img src=x onerror=\"document.title='caught'\">, {{this}}, ${1+1}")
    page.wait_for_function("document.querySelectorAll('.ovs-stage').length == 2")
    shown = "".join(page.locator(".ovs-legend").all_text_contents())
    assert any(word in shown for word in ("<img src=x", "{{this}}", "${1+1}"))
    assert page.title() == "OVSuite"


def test_examples_fill_in_picture_and_words(page):
    page.locator("#ovs-examples button").first.click()
    page.wait_for_selector("#ovs-picture img")
    page.wait_for_function("document.querySelector('#ovs-words textarea').value.includes(',')")
    page.click("#ovs-go")
    page.wait_for_function("document.querySelectorAll('.ovs-stage').length == 2")
