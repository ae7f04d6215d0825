"""Hurried visitors: no card ever shows labels of other words or pictures than it names."""

import base64
import io
import json
import random
import re
import threading
import zlib
from html import unescape

import numpy as np
import pytest
from PIL import Image

from ovs_core.predict.result import Result
from ovs_core.web import room
from ovs_core.web.limits import Bounds

COLORS = {"red.png": (200, 10, 10), "green.png": (10, 200, 10), "blue.png": (10, 10, 200)}
WORDS = ["cat", "cat, dog", "dog, cat", "sky, wall, cat", "wall"]
METHODS = ["one/tiny", "two/tiny"]
SIZE = (30, 40)
CARD = re.compile(
    r'data-method="([^"]+)".*?<b>([^<]+)</b> <span>([^<]+)</span>.*?data-names="([^"]+)".*?'
    r'class="ovs-photo" alt="" src="([^"]+)".*?class="ovs-map" alt="" src="([^"]+)"'
)


def labels_of(method, words, color):
    """Labels that tell by which method, from which words and picture they were made."""
    seed = zlib.crc32(repr((method, words, color)).encode())
    return np.random.default_rng(seed).integers(0, len(words.split(",")), SIZE)


class TellingPredictor:
    """Slow enough to be overtaken, and its labels tell what they were made from."""

    def __init__(self, config):
        self.config = config

    @classmethod
    def from_config(cls, config, **_):
        return cls(config)

    def __call__(self, picture, words):
        threading.Event().wait(0.01)
        typed = ", ".join(words.names)
        color = tuple(picture.rgb[0, 0].tolist())
        labels = labels_of(self.config, typed, color).astype(np.int32)
        return Result(labels, words.names, picture.rgb)


@pytest.fixture
def telling(serve_page, monkeypatch):
    monkeypatch.setattr(room, "Predictor", TellingPredictor)
    return serve_page(bounds=Bounds(runs=20))


def cards_in(html):
    """Method, picture, words, names, and addresses of photo and labels, of each card."""
    found = CARD.findall(html)
    assert len(found) == html.count("ovs-stage")
    return found


def check_card(card, http):
    """Compare what a card names with what it shows."""
    method, picture, words, names, photo, numbers = card
    assert words.split(", ") == json.loads(unescape(names))
    shown, drawn = (
        np.asarray(Image.open(io.BytesIO(http.get(f"/{address}").raise_for_status().content)))
        for address in (photo, numbers)
    )
    assert np.abs(shown.astype(int) - COLORS[picture]).max() < 12  # JPEG
    assert np.array_equal(drawn[..., 0], labels_of(method, words, COLORS[picture]))


def test_hurried_requests_of_two_tabs(telling, png):
    visit, rng = telling.visit(), random.Random(0)
    tickets = [visit.upload(png(*SIZE[::-1], color), name) for name, color in COLORS.items()]
    tabs, cards = (visit.tab, visit.tab + "b"), set()
    for _ in range(10):
        for _ in range(2):
            for tab in tabs:
                chosen = rng.sample(METHODS, rng.randint(1, 2))
                data = [{"path": rng.choice(tickets)}, rng.choice(WORDS), chosen]
                visit.join(visit.events["segment"], data, tab=tab).raise_for_status()
            if rng.random() < 0.3:  # of a run that is not there: nothing happens
                visit.join(visit.events["stop"], ["0" * 16], tab=tabs[0]).raise_for_status()
        for tab in tabs:
            cards.update(card for html in layouts(visit, tab) for card in cards_in(html))
    assert len(cards) >= 40  # of 40 runs
    for card in cards:
        check_card(card, visit.http)


def layouts(visit, tab):
    """What each run that a tab has begun ended with."""
    with visit.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": tab}) as answer:
        for line in answer.iter_lines():
            message = json.loads(line.removeprefix("data: ")) if line else {}
            if message.get("msg") == "process_completed":
                outputs = message["output"]["data"]
                if len(outputs) == 2:
                    yield outputs[1]


# A visitor who does not wait for anything, and notes at each change of the page what it shows: a
# card that is not grey must answer the fields.
HURRY = """async ([count, seed, words, pictures]) => {
  const find = (selector) => document.querySelector(selector);
  const pick = (list) => list[(seed = (seed * 48271) % 2147483647) % list.length];
  const seen = new Set(), wrong = [];
  const look = () => {
    const cards = find(".ovs-cards");
    if (!cards) return;
    const ticket = /\\/file=([\\w.-]+)/.exec(find("#ovs-picture img")?.src ?? "")?.[1] ?? "";
    cards.querySelectorAll(".ovs-card").forEach((card) => {
      if (card.querySelector(".ovs-stage")) seen.add(card.outerHTML);
      if (card.classList.contains("ovs-stale")) return;
      const box = find(`.ovs-methods input[name="${card.dataset.method}"]`);
      const answered = [cards.dataset.words, cards.dataset.picture, true];
      const asked = [find("#ovs-words textarea").value, ticket, box.checked];
      if (`${answered}` !== `${asked}`) wrong.push([answered, asked]);
    });
  };
  const type = (text) => {
    const field = find("#ovs-words textarea");
    Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(field, text);
    field.dispatchEvent(new Event("input", {bubbles: true}));
  };
  const put = (name) => {
    const field = find("#ovs-picture input[type=file]");
    if (!field) return;
    const bytes = Uint8Array.from(atob(pictures[name]), (letter) => letter.charCodeAt(0));
    const files = new DataTransfer();
    files.items.add(new File([bytes], name, {type: "image/png"}));
    field.files = files.files;
    field.dispatchEvent(new Event("change", {bubbles: true}));
  };
  const go = () => find("#ovs-go").click();
  const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  const acts = [
    go, go, go, go, () => { go(); go(); }, () => type(pick(words)), () => type(pick(words)),
    () => put(pick(Object.keys(pictures))), () => put(pick(Object.keys(pictures))),
    () => find("#ovs-stop").click(), () => find("#ovs-download").click(),
    () => find('.ovs-methods input[name="two/tiny"]').click(),
    () => find('#ovs-picture button[aria-label="Remove Image"]')?.click(),
  ];
  new MutationObserver(look).observe(find("#ovs-results"), {childList: true, subtree: true});
  for (let number = 0; number < count; number++) {
    pick(acts)();
    look();
    await wait(pick([0, 0, 30, 200]));
  }
  type("last, words");
  while (!find("#ovs-picture img")) { put("red.png"); await wait(200); }
  while (!find('.ovs-cards[data-words="last, words"] .ovs-card:not(.ovs-stale) .ovs-stage')) {
    if (!find(".ovs-running")) go();
    await wait(500);
  }
  return [[...seen], wrong];
}"""

BEGIN = "([hurry, given]) => { window.hurry = eval(hurry)(given); }"


@pytest.mark.slow
def test_200_hurried_clicks_in_two_tabs_and_after_reloads(telling, open_window, png):
    import httpx

    window = open_window(telling.address)
    tabs, seen, wrong = [window.open(), window.open()], set(), []
    pictures = {
        name: base64.b64encode(png(*SIZE[::-1], color)).decode() for name, color in COLORS.items()
    }
    for seed in (1, 3):
        for number, tab in enumerate(tabs):  # both at the same time
            tab.evaluate(BEGIN, [HURRY, [50, seed + number, WORDS, pictures]])
        for tab in tabs:
            cards, mistakes = tab.evaluate("window.hurry")
            seen.update(card for html in cards for card in cards_in(html))
            wrong += mistakes
            tab.evaluate("document.querySelector('#ovs-go').click()")  # and away while it runs
            tab.reload()
            tab.wait_for_selector("#ovs-go")
    assert not wrong and len(seen) >= 6
    with httpx.Client(base_url=telling.address, cookies=window.cookies()) as http:
        for card in seen:
            check_card(card, http)
