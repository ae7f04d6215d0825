"""A served page with methods that need no model, and visitors who send what they like."""

import io
import json
import os
import secrets
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovs_core.predict.predictor import Predictor
from ovs_core.predict.result import Result
from ovs_core.web import room
from ovs_core.web.choices import Choice
from ovs_core.web.limits import Bounds, Limits

PATIENCE = 120_000  # milliseconds; only a hang takes as long
CHOICES = [Choice("one/tiny", "one/tiny"), Choice("two/tiny", "two/tiny")]


class FakePredictor:
    """Gives all pixels of the right half the second word.

    Pages are served to the end of all tests; what other tests ask a room for is real meanwhile.
    """

    @classmethod
    def from_config(cls, config, **options):
        made_up = config in [choice.config for choice in CHOICES]
        return cls() if made_up else Predictor.from_config(config, **options)

    def __call__(self, picture, words):
        image = picture.rgb
        labels = np.zeros(image.shape[:2], np.int32)
        labels[:, image.shape[1] // 2 :] = min(1, len(words) - 1)
        return Result(labels, words.names, image)


class Visit:
    """A browser on the page: keeps cookies, uploads, presses buttons.

    Args:
        page: a ``Page``.
    """

    def __init__(self, page):
        import httpx

        self.http = httpx.Client(base_url=page.address, timeout=60)
        self.tab = secrets.token_hex(5)
        self.http.get("/").raise_for_status()
        self.events = {
            event["api_name"]: event["id"]
            for event in self.http.get("/config").json()["dependencies"]
            if event["backend_fn"]
        }

    def upload(self, content, name="my cat.png"):
        answer = self.http.post("/gradio_api/upload", files={"files": (name, content)})
        answer.raise_for_status()
        (ticket,) = answer.json()
        return ticket

    def join(self, event, data, tab=None):
        body = {"data": data, "fn_index": event, "session_hash": tab or self.tab}
        content, kind = json.dumps(body), {"content-type": "application/json"}
        return self.http.post("/gradio_api/queue/join", content=content, headers=kind)

    def listen(self, tab=None):
        """Outputs of the finished run, or None if it failed."""
        query = {"session_hash": tab or self.tab}
        outputs = None
        with self.http.stream("GET", "/gradio_api/queue/data", params=query) as answer:
            assert answer.status_code == 200, answer.status_code
            for line in answer.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line else {}
                if message.get("msg") == "process_completed":
                    outputs = message["output"].get("data")
                    assert "Traceback" not in line and "site-packages" not in line
        return outputs

    def segment(self, picture, words="left, right", methods=("one/tiny",)):
        answer = self.join(self.events["segment"], [picture, words, list(methods)])
        answer.raise_for_status()
        return self.listen()

    def download(self, strength=0.5):
        self.join(self.events["download"], [strength]).raise_for_status()
        return self.listen()


class Page:
    """What tests know of a served page."""

    def __init__(self, served, port, folder):
        self.served, self.port, self.folder = served, port, folder
        self.address = f"http://127.0.0.1:{port}"

    def visit(self):
        return Visit(self)

    def files(self):
        return [path for path in self.folder.rglob("*") if path.is_file()]


@pytest.fixture(scope="session")
def serve_page():
    """Serve pages with the settings that a test asks for; they end with the tests."""
    pytest.importorskip("gradio", reason="gradio is not installed: pip install -e '.[web]'")
    from ovs_core.web import server

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as above:
        patch.setattr(room, "Predictor", FakePredictor)
        for name, value in server.QUIET.items():
            patch.setenv(name, value)
        patch.setenv("GRADIO_TEMP_DIR", str(Path(above) / "gradio"))
        pages = []

        def serve(**settings):
            port = server.free_port("127.0.0.1", 20_000 + os.getpid() % 20_000)
            folder = Path(above) / f"page{len(pages)}"
            folder.mkdir()
            served = server.launch(CHOICES, server.Settings(**settings), port, folder)
            pages.append(Page(served, port, folder))
            return pages[-1]

        yield serve
        for page in pages:
            page.served.close()


@pytest.fixture(scope="session")
def page(serve_page):
    """A page with narrow limits."""
    return serve_page(
        limits=Limits(megabytes=0.25, megapixels=0.2, words=20, texts=30, characters=2000,
                      word_characters=50),
        bounds=Bounds(visitors=200),
    )  # fmt: skip


@pytest.fixture(scope="module")
def visit(page):
    return page.visit()


@pytest.fixture(scope="session")
def watch():
    """What this process opens and where it connects to while it is watched."""
    seen, watching = [], [False]

    def hook(event, args):
        if watching[0] and event in ("open", "socket.connect", "socket.getaddrinfo", "os.listdir"):
            seen.append((event, args))

    sys.addaudithook(hook)  # cannot be taken away, only be told to look away

    class Watch:
        def __enter__(self):
            seen.clear()
            watching[0] = True
            return seen

        def __exit__(self, *_):
            watching[0] = False

    return Watch


def png(width=40, height=30, color=(200, 10, 10)):
    packed = io.BytesIO()
    Image.new("RGB", (width, height), color).save(packed, "PNG")
    return packed.getvalue()


@pytest.fixture(name="png", scope="session")
def png_fixture():
    return png


@pytest.fixture(scope="session")
def page_visit():
    return Visit


class Window:
    """Tabs of one new visitor. All requests must go to the page, and no script may fail.

    Args:
        chromium: a browser.
        address: of the page.
        look: further options of the window, such as ``viewport``.
    """

    def __init__(self, chromium, address, **look):
        self.address = address
        self.requests, self.errors = [], []
        self._context = chromium.new_context(
            **{"viewport": {"width": 1400, "height": 1000}, **look}
        )

    def open(self):
        page = self._context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(self.address)
        page.wait_for_selector("#ovs-go")
        return page

    def cookies(self):
        return {cookie["name"]: cookie["value"] for cookie in self._context.cookies()}

    def close(self):
        self._context.close()
        own = (self.address, "data:", "blob:")
        foreign = [url for url in self.requests if not url.startswith(own)]
        assert self.requests and not foreign and not self.errors


@pytest.fixture
def open_window(chromium):
    """Give windows of new visitors; they are checked at the end."""
    windows = []

    def open_one(address, **look):
        windows.append(Window(chromium, address, **look))
        return windows[-1]

    yield open_one
    for window in windows:
        window.close()
