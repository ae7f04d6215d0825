"""The guard alone, in front of an application that takes note of what reaches it."""

import asyncio
import base64
import json
from urllib.parse import parse_qs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovs_core.web.answers import LINES
from ovs_core.web.guard import Guard
from ovs_core.web.limits import Bounds, Limits
from ovs_core.web.names import KnownNames, is_loopback
from ovs_core.web.sessions import Visitors

BUTTONS = {5: 3, 7: 1}
PLAIN = (str, int, float, type(None))


class Inner:
    """Stands for gradio."""

    def __init__(self, status=200):
        self.status, self.bodies, self.scopes = status, [], []

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        self.bodies.append((await receive())["body"])
        headers = [(b"a", b"b")]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"/secret/path Traceback"})


def ask(guard, path="/", method="GET", headers=None, body=b"", query=b""):
    """Returns status, headers and body of the answer."""
    raw = [(b"host", b"localhost:1")] if "host" not in (headers or {}) else []
    raw += [(key.encode(), value.encode("latin-1")) for key, value in (headers or {}).items()]
    scope = {"type": "http", "method": method, "path": path, "headers": raw, "query_string": query}
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    asyncio.run(guard(scope, receive, send))
    start, *parts = sent
    assert start["type"] == "http.response.start"
    return start["status"], dict(start["headers"]), b"".join(part["body"] for part in parts)


@pytest.fixture(scope="module")
def visitors(tmp_path_factory):
    return Visitors(tmp_path_factory.mktemp("visitors"), Bounds(tabs=1000))


def guard_of(visitors, inner, **more):
    return Guard(inner, visitors, KnownNames(), Limits(characters=100), BUTTONS, {}, **more)


def test_every_answer_keeps_the_browser_to_the_page(visitors):
    status, headers, _ = ask(guard_of(visitors, Inner()))
    assert status == 200 and headers[b"a"] == b"b"
    assert b"default-src 'self'" in headers[b"content-security-policy"]
    status, headers, _ = ask(guard_of(visitors, Inner()), "/nowhere")
    assert status == 404 and headers[b"x-content-type-options"] == b"nosniff"


@pytest.mark.parametrize("status", [400, 403, 404, 405, 413, 422, 500, 503])
def test_no_error_of_the_application_comes_through(visitors, status):
    found, _, body = ask(guard_of(visitors, Inner(status)))
    assert found == status and b"secret" not in body and b"Traceback" not in body
    assert json.loads(body) == {
        "detail": LINES.get(status, "this failed; the terminal shows where")
    }


def test_an_application_that_breaks_gives_one_line(visitors, caplog):
    async def broken(scope, receive, send):
        raise ZeroDivisionError("/secret/path")

    status, _, body = ask(guard_of(visitors, broken))
    assert status == 500 and b"secret" not in body and "/secret/path" in caplog.text


def test_a_cookie_is_given_once(visitors):
    guard = guard_of(visitors, Inner())
    _, headers, _ = ask(guard)
    cookie = headers[b"set-cookie"].decode().partition(";")[0]
    assert b"set-cookie" not in ask(guard, headers={"cookie": f"a=b; {cookie}"})[1]
    assert b"set-cookie" in ask(guard, headers={"cookie": cookie[:-1]})[1]
    assert b"set-cookie" in ask(guard, headers={"cookie": "=;;\x01=x"})[1]


def basic(text):
    return {"authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


def test_without_the_password_nothing_is_served(visitors, monkeypatch):
    monkeypatch.setattr("ovs_core.web.guard.PASSWORD_PAUSE", 0)
    inner = Inner()
    guard = guard_of(visitors, inner, password="open sesame ä")
    wrong = ({}, basic(""), basic("any:"), basic("any:open"), basic("open sesame ä"),
             {"authorization": "Basic ???"}, {"authorization": "Basic"},
             {"authorization": "Bearer open sesame"}, {"authorization": "Basic /w=="})  # fmt: skip
    for headers in wrong:
        for way in ("/", "/config", "/assets/x.js", "/gradio_api/file=x", "/nowhere"):
            status, answered, body = ask(guard, way, headers=headers)
            assert status == 401 and json.loads(body) == {"detail": LINES[401]}
            assert answered[b"www-authenticate"].startswith(b"Basic ")
            assert b"set-cookie" not in answered
    assert not inner.scopes
    assert ask(guard, headers=basic("any:open sesame ä"))[0] == 200


def test_two_hosts_are_no_host(visitors):
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"",
             "headers": [(b"host", b"localhost"), (b"host", b"evil.example")]}  # fmt: skip
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(guard_of(visitors, Inner())(scope, None, send))
    assert sent[0]["status"] == 421


def test_a_websocket_is_closed(visitors):
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    inner = Inner()
    asyncio.run(guard_of(visitors, inner)({"type": "websocket", "headers": []}, receive, send))
    assert sent == [{"type": "websocket.close", "code": 1008}] and not inner.scopes


def test_gradio_is_asked_for_the_visitors_tab_only(visitors):
    inner = Inner()
    guard = guard_of(visitors, inner)
    cookie = {"cookie": f"{visitors.cookie}={visitors.enter().token}"}
    query = b"session_hash=other&x=1&session_hash=mine"
    assert ask(guard, "/gradio_api/queue/data", headers=cookie, query=query)[0] == 200
    assert parse_qs(inner.scopes[-1]["query_string"]) == {b"session_hash": [b"mine"]}
    other = {"cookie": f"{visitors.cookie}={visitors.enter().token}"}
    assert ask(guard, "/gradio_api/queue/data", headers=other, query=query)[0] == 404


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
fields = st.fixed_dictionaries({}, optional={
    "data": st.lists(json_values | st.fixed_dictionaries({"path": json_values}), max_size=4),
    "fn_index": st.sampled_from([5, 7, 5.0, True, None, "5", -1]) | json_values,
    "session_hash": st.from_regex(r"[0-9a-z]{1,8}", fullmatch=True) | json_values,
    "trigger_id": st.integers() | json_values,
    "event_data": json_values, "event_id": json_values, "simple_format": json_values,
    "batched": json_values, "oauth_token": json_values, "request": json_values,
})  # fmt: skip


@settings(max_examples=80, deadline=None, derandomize=True)
@given(body=fields.map(json.dumps).map(str.encode) | st.binary(max_size=50))
def test_whatever_is_sent_only_plain_fields_reach_gradio(visitors, body):
    inner = Inner()
    cookie = {"cookie": f"{visitors.cookie}={visitors.enter().token}"}
    guard = guard_of(visitors, inner)
    status, _, answer = ask(guard, "/gradio_api/queue/join", "POST", cookie, body)
    if status != 200:
        assert json.loads(answer) == {"detail": LINES[status]} and not inner.bodies
        return
    passed = json.loads(inner.bodies[0])
    assert set(passed) == {"data", "fn_index", "session_hash", "trigger_id"}
    assert len(passed["data"]) == BUTTONS[passed["fn_index"]]
    for value in passed["data"]:
        assert all(
            isinstance(part, PLAIN) for part in (value if isinstance(value, list) else [value])
        )


@settings(max_examples=100, deadline=None, derandomize=True)
@given(path=st.text(max_size=40), method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "TRACE"]))
def test_no_address_leads_further_than_those_that_the_page_needs(visitors, path, method):
    inner = Inner()
    cookie = {"cookie": f"{visitors.cookie}={visitors.enter().token}"}
    for way in ("/", "/gradio_api/", "/assets/", "/static/", "/gradio_api/file="):
        status, _, _ = ask(guard_of(visitors, inner), way + path, method, cookie)
        if status == 200:
            shown = inner.scopes[-1]["path"]
            assert method in ("GET", "HEAD") and ".." not in shown and "\\" not in shown


@pytest.mark.parametrize(
    ("host", "allowed", "netloc", "known"),
    [
        ("127.0.0.1", (), "127.0.0.1:7860", True),
        ("127.0.0.1", (), "LocalHost", True),
        ("127.0.0.1", (), "[::1]:9", True),
        ("127.0.0.1", (), "192.168.0.7:7860", False),
        ("127.0.0.1", (), "page.example.org", False),
        ("127.0.0.1", ("Page.example.org",), "page.example.org:443", True),
        ("127.0.0.1", ("page.example.org",), "evil.page.example.org", False),
        ("192.168.0.7", (), "192.168.0.7:7860", True),
        ("192.168.0.7", (), "192.168.0.8:7860", False),
        ("lab", (), "LAB:7860", True),
        ("0.0.0.0", (), "192.168.0.7:7860", True),
        ("::", (), "[fe80::1]:7860", True),
        ("0.0.0.0", (), "evil.example", False),
        ("0.0.0.0", (), "1.2.3.4.evil.example", False),
    ],
)
def test_names_of_the_server(host, allowed, netloc, known):
    assert KnownNames(host, allowed).knows(netloc) is known


@pytest.mark.parametrize(
    ("origin", "own"),
    [
        ("http://localhost:7860", True),
        ("https://localhost:7860", True),  # a proxy ends TLS
        ("http://localhost:7861", False),
        ("http://127.0.0.1:7860", False),
        ("https://page.example.org", True),
        ("https://page.example.org:8443", True),
        ("https://page.example.org.evil.example", False),
        ("http://[", False),
        ("null", False),
    ],
)
def test_origins_of_the_page(origin, own):
    names = KnownNames(allowed=("page.example.org",))
    assert names.is_own_origin(origin, "localhost:7860") is own


def test_loopback():
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.0.0.2", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.7", "lab", "localhost.lab")))
