"""Requests that the page's own script would never send, against the page as it is served."""

import io
import itertools
import json
import os
import re
import threading
import zipfile
from urllib.parse import quote

import pytest

from ovs_core.web import room

GONE = "this picture is not here any more; add it again"
NOTHING = "nothing here, or no longer; reload the page"
NOT_OURS = "this request is not one of the page's"
SECRET = "ovsuite-secret"


@pytest.fixture(scope="module")
def secrets_beside(tmp_path_factory, page, png):
    """Files that nobody may read; each beside the name of one that does not exist."""
    folder = tmp_path_factory.mktemp(SECRET)
    (folder / "picture.png").write_bytes(png())
    (folder / "link.png").symlink_to(folder / "picture.png")
    (page.folder / f"{SECRET}.png").write_bytes(png())  # in the page's folder, of no visitor
    return [
        (str(folder / "picture.png"), str(folder / "absent.png")),
        (str(folder / "link.png"), str(folder / "broken.png")),
        (str(folder), str(folder) + "x"),
        (str(page.folder / f"{SECRET}.png"), str(page.folder / "absent.png")),
        (f"../{SECRET}.png", "../absent.png"),
        (os.path.relpath(folder / "picture.png"), os.path.relpath(folder / "absent.png")),
        (f"file://{folder}/picture.png", f"file://{folder}/absent.png"),
        ("/etc/passwd", "/etc/no_such_file"),
        ("/dev/zero", "/dev/no_such_device"),
        ("/proc/self/environ", "/proc/self/no_such_file"),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def ticket(visit, png):
    return visit.upload(png())


def test_the_page_serves_its_own_visitor(page, png):
    visit = page.visit()
    ticket = visit.upload(png())
    message, cards = visit.segment({"path": ticket, "meta": {"_type": "gradio.FileData"}})
    assert message == "" and cards.count("ovs-stage") == 1
    layers = re.findall(r'src="(gradio_api/file=[\w-]+\.(?:png|jpeg))"', cards)
    assert len(layers) == 4
    assert all(visit.http.get(f"/{layer}").status_code == 200 for layer in layers)
    message, record = visit.download()
    answer = visit.http.get("/" + record["url"])
    assert message == "" and record["orig_name"] == "my cat_masks.zip"
    assert (
        answer.headers["content-disposition"] == "attachment; filename*=utf-8''my%20cat_masks.zip"
    )
    assert "one_tiny/my cat_labels.png" in zipfile.ZipFile(io.BytesIO(answer.content)).namelist()


def around(path):
    """Forms in which a request may name a file."""
    marked = {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": "x.png"}
    return [path, {"path": path}, marked, marked | {"url": path, "is_stream": True}]


def test_no_file_but_the_visitors_own_is_read_and_none_is_told_of(
    visit, secrets_beside, watch, page
):
    with watch() as seen:
        for there, absent in secrets_beside:
            answers = [visit.segment(form) for path in (there, absent) for form in around(path)]
            assert all(GONE in message for message, _ in answers)
            assert len({json.dumps(answer) for answer in answers}) == 1
    assert_nothing_was_read(seen, page)


def assert_nothing_was_read(seen, page):
    """Only the page's own files were opened, and nothing but the page itself was asked."""
    opened = [str(args[0]) for event, args in seen if event in ("open", "os.listdir")]
    assert not [name for name in opened if SECRET in name or name.startswith(("/etc/no", "/dev/z"))]
    assert not [name for name in opened if name in ("/etc/passwd", "/proc/self/environ")]
    reached = {args[1] for event, args in seen if event == "socket.connect"}
    assert reached <= {("127.0.0.1", page.port)}
    assert {args[0] for event, args in seen if event == "socket.getaddrinfo"} <= {"127.0.0.1"}


def test_addresses_are_never_fetched(visit, watch, page, ticket):
    """Neither of this server, nor of others, nor such as carry their content."""
    own = f"{page.address}/gradio_api/file={ticket}"
    addresses = (own, "http://127.0.0.1:1/x.png", "https://example.org/x.png", "//example.org/x",
                 "http://169.254.169.254/latest", "ftp://example.org/x.png",
                 "data:image/png;base64,iVBORw0KGgo=", f"gradio_api/file={ticket}")  # fmt: skip
    with watch() as seen:
        for address in addresses:
            for form in (*around(address), {"url": address}, {"path": None, "url": address}):
                message, _ = visit.segment(form)
                assert GONE in message or "add a picture first" in message
    assert_nothing_was_read(seen, page)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_ways_to_files_tell_nothing(visit, secrets_beside, watch, page, method, ticket):
    ways = ("/gradio_api/file=", "/file=", "/gradio_api/file/", "/gradio_api/proxy=", "/static/",
            "/assets/", "/svelte/", "/gradio_api/custom_component/image/client/",
            "/gradio_api/stream/", "/monitoring/")  # fmt: skip
    paths = [path for pair in secrets_beside for path in pair]
    paths += [f"../{ticket}", f"{ticket}/../{ticket}", "http://127.0.0.1:1/", "", "..", "%00"]
    with watch() as seen:
        answers = {
            (answer.status_code, answer.text)
            for way, path in itertools.product(ways, paths)
            for answer in [visit.http.request(method, way + quote(path).replace(".", "%2E"))]
        }
    line = json.dumps({"detail": NOTHING}) if method == "GET" else ""
    assert answers == {(404, line)}
    assert_nothing_was_read(seen, page)


def test_no_visitor_reaches_what_is_anothers(page, visit, ticket, png):
    visit.segment({"path": ticket})
    _, record = visit.download()
    other = page.visit()
    for theirs in (ticket, record["path"]):
        assert visit.http.get(f"/gradio_api/file={theirs}").status_code == 200
        assert other.http.get(f"/gradio_api/file={theirs}").json() == {"detail": NOTHING}
        assert GONE in other.segment({"path": theirs})[0]
    assert "segment a picture first" in other.download()[0]
    # Nor by the name of the other's tab.
    for answer in (
        other.join(other.events["download"], [0.5], tab=visit.tab),
        other.http.get("/gradio_api/queue/data", params={"session_hash": visit.tab}),
        other.http.get(f"/gradio_api/heartbeat/{visit.tab}"),
    ):
        assert answer.status_code == 404 and answer.json() == {"detail": NOTHING}


def test_who_has_no_cookie_sees_the_bare_page_only(page, ticket, png):
    import httpx

    with httpx.Client(base_url=page.address) as http:
        made_up = {"cookie": f"{page.served.visitors.cookie}=guess"}
        for headers in ({}, made_up):
            answers = [
                http.get(f"/gradio_api/file={ticket}", headers=headers),
                http.post("/gradio_api/upload", files={"files": ("a.png", png())}, headers=headers),
                http.post("/gradio_api/queue/join", json={"data": []}, headers=headers),
                http.get("/gradio_api/queue/data?session_hash=tab1", headers=headers),
            ]
            assert {(a.status_code, a.json()["detail"]) for a in answers} == {(404, NOTHING)}
        cookie = http.get("/").headers["set-cookie"]
    assert re.fullmatch(r"ovsuite_\w+=[\w-]{43}; Path=/; HttpOnly; SameSite=Strict", cookie)


def test_names_that_are_not_this_servers(page, visit):
    port = page.port
    foreign = ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "localhost.",
               f"127.0.0.1:{port}@evil.example", "[::1", "::1", "0.0.0.0", "192.168.0.7", "",
               "127.0.0.1:port", "localhost evil.example", "127.1", "2130706433")  # fmt: skip
    ways = ("/", "/config", "/assets/x.js", "/gradio_api/info", "/gradio_api/file=x", "/nowhere")
    for name, way in itertools.product(foreign, ways):
        answer = visit.http.get(way, headers={"host": name})
        assert answer.status_code in (400, 421), (name, way)  # 400: of the HTTP parser
        assert "set-cookie" not in answer.headers and "evil" not in answer.text
    for name in ("127.0.0.1", "localhost", f"LOCALHOST:{port}", "[::1]", "[::1]:80", "127.0.0.1:1"):
        assert visit.http.get("/", headers={"host": name}).status_code == 200


def test_what_other_sites_would_have_the_page_do(page, visit, png):
    own = page.address
    foreign = [{"origin": origin} for origin in (
        "http://evil.example", "https://evil.example:443", "null", "", "http://localhost:1",
        f"http://127.0.0.1:{page.port + 1}", f"{own}.evil.example", f"{own}/", "file://",
        f"http://x@127.0.0.1:{page.port}",
    )]  # fmt: skip
    foreign += [{"sec-fetch-site": site} for site in ("cross-site", "same-site", "x")]
    foreign += [{"origin": own, "sec-fetch-site": "cross-site"}]
    body = {"data": [0.5], "fn_index": visit.events["download"], "session_hash": visit.tab}
    before = page.files()
    for headers in foreign:
        if "sec-fetch-site" not in headers:
            assert visit.http.get("/", headers=headers).status_code == 403
    for headers in foreign:
        answers = [
            visit.http.post("/gradio_api/upload", files={"files": ("a", png())}, headers=headers),
            visit.http.post("/gradio_api/queue/join", json=body, headers=headers),
            visit.http.options("/gradio_api/queue/join", headers=headers),
            visit.http.delete("/", headers=headers),
        ]
        assert {answer.status_code for answer in answers} == {403}, headers
        assert not [a for a in answers if "access-control-allow-origin" in a.headers]
    assert page.files() == before
    same = {"origin": own, "sec-fetch-site": "same-origin"}
    answer = visit.http.post("/gradio_api/queue/join", json=body, headers=same)
    assert answer.status_code == 200 and "access-control-allow-origin" not in answer.headers
    visit.listen()


NESTED = json.loads("[" * 50 + "]" * 50)
BODIES = [
    b"", b"{", b"[]", b"null", b"1", b'"x"', b"\xff\xfe", b"[" * 5000, b'{"data": []}',
    *(json.dumps({"session_hash": "tab1", "fn_index": 5, "data": [], **change}).encode()
      for change in (
        {"session_hash": None}, {"session_hash": 1}, {"session_hash": ["tab1"]},
        {"session_hash": "../tab1"}, {"session_hash": "x" * 33}, {"session_hash": "TAB1"},
        {"fn_index": None}, {"fn_index": "5"}, {"fn_index": True}, {"fn_index": 5.0},
        {"fn_index": 10**9}, {"fn_index": -1}, {"fn_index": [5]}, {"trigger_id": "1"},
        {"trigger_id": {}}, {"data": None}, {"data": "abc"}, {"data": {"0": 1}}, {"data": 5},
        {"data": [{"path": {"path": "x"}}]}, {"data": [{"path": ["/etc/passwd"] * 2}, [[]]]},
        {"data": [[{"path": "x"}]]}, {"data": NESTED}, {"data": [None] * 17},
        {"data": [None] * 2}, {"data": [None] * 4}, {"data": ["x" * 5000]},
        {"data": [["x" * 100] * 100]}, {"data": [{"path": "x" * 5000}]},
    )),
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_wrong_request_gets_one_neutral_line(visit, body):
    answer = visit.http.post(
        "/gradio_api/queue/join", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code >= 400
    assert answer.json()["detail"] in (NOT_OURS, NOTHING, "this is more than the page takes")


@pytest.mark.parametrize("data", [
    [None, ["a"], ["one/tiny"]], [None, 5, ["one/tiny"]],
    [None, "a", "one/tiny"], [None, "a", [5]], [None, "a", [None]], [None, "a", ["/etc/passwd"]],
    [True, "a", ["one/tiny"]], [1e400, "a", ["one/tiny"]], [None, "\ud800", ["one/tiny"]],
    [None, "a\x00b|||", ["one/tiny"]], [["/etc/passwd"], "a", ["one/tiny"]],
])  # fmt: skip
def test_wrong_fields_end_in_a_notice_or_in_nothing(visit, data):
    answer = visit.join(visit.events["segment"], data)
    if answer.status_code != 200:
        assert (answer.status_code, answer.json()) == (400, {"detail": NOT_OURS})
        return
    outputs = visit.listen()
    assert outputs is None or ('role="alert"' in outputs[0] and "<section" not in outputs[1])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("x" * 2001, "2001 characters are more than this page takes (2000)"),
        (", ".join(map(str, range(21))), "21 words are more than this page takes (20)"),
        ("," * 41 + "x", "41 words are more than this page takes (40)"),
        ("|".join(map(str, range(31))), "31 synonyms are more than this page takes (30)"),
        ("cat, " + "x" * 51, "has 51 characters; a word may have 50"),
    ],
)
def test_texts_are_bounded_on_the_server(visit, ticket, words, said):
    message, _ = visit.segment({"path": ticket}, words)
    assert said in message.replace("&#x27;", "'")


def test_what_gradio_offers_besides_is_closed(visit):
    ways = ("api/segment", "run/segment", "call/segment", "call/v2/segment", "component_server",
            "process_recording", "vibe-edit", "undo-vibe-edit", "cancel", "reset",
            "run-history/connect", "stream/x", "deep_link", "monitoring", "queue/status",
            "openapi.json", "dev/reload", "mcp", "runs", "token", "user", "login", "info",
            "app_id", "startup-events", "upload_progress/x")  # fmt: skip
    for way, method in itertools.product(ways, ("GET", "POST", "PUT", "DELETE", "TRACE")):
        for prefix in ("/gradio_api/", "/"):
            answer = visit.http.request(method, prefix + way)
            assert (answer.status_code, answer.json()) == (404, {"detail": NOTHING}), (method, way)


def test_queries_and_headers_choose_nothing(visit, ticket):
    plain = visit.http.get("/config").json()
    poisoned = {"x-forwarded-host": "evil.example", "x-gradio-server": "http://evil.example/"}
    for query in ("", "?deep_link=../x", "?page=../../etc/passwd", "?__theme=http://evil.example"):
        answer = visit.http.get(f"/config{query}", headers=poisoned)
        assert answer.json() == plain and "evil" not in answer.text


def test_a_websocket_is_not_opened(page):
    import httpx

    upgrade = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13",
               "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA=="}  # fmt: skip
    assert httpx.get(f"{page.address}/", headers=upgrade, timeout=10).status_code != 101


def test_a_visitor_cannot_start_more_and_more_runs(page, png, monkeypatch):
    go_on = threading.Event()
    whole = room.Predictor.__call__
    monkeypatch.setattr(room.Predictor, "__call__", lambda *a: go_on.wait(30) and whole(*a))
    visit = page.visit()
    data = [{"path": visit.upload(png())}, "a, b", ["one/tiny"]]
    tabs = (visit.tab, visit.tab + "b")
    runs = page.served.visitors.bounds.runs
    answers = [visit.join(visit.events["segment"], data, tab=tabs[n % 2]) for n in range(runs + 2)]
    go_on.set()
    assert [answer.status_code for answer in answers] == [200] * runs + [429] * 2
    assert answers[-1].json() == {"detail": "wait until what runs is done"}
    assert visit.listen(tabs[0]) and visit.listen(tabs[1])
    assert visit.join(visit.events["segment"], data).status_code == 200
    visit.listen()


@pytest.mark.slow
def test_with_a_password_nothing_is_shown_without(serve_page, png, monkeypatch):
    import httpx

    from ovs_core.web import guard

    monkeypatch.setattr(guard, "PASSWORD_PAUSE", 0.01)
    page = serve_page(password="open sesame ä")
    ways = ("/", "/config", "/theme.css", "/gradio_api/info", "/gradio_api/file=x", "/nowhere")
    wrong = (None, ("any", ""), ("any", "open"), ("open sesame ä", "x"))
    for way, auth in itertools.product(ways, wrong):
        answer = httpx.get(page.address + way, auth=auth)
        assert answer.status_code == 401 and answer.json() == {"detail": "this page has a password"}
        assert answer.headers["www-authenticate"].startswith("Basic ")
    for header in ("Basic", "Basic ???", "Bearer x", "Basic " + "A" * 5000):
        assert httpx.get(page.address, headers={"authorization": header}).status_code == 401
    right = ("any", "open sesame ä".encode())
    with httpx.Client(base_url=page.address, auth=right) as http:
        assert http.get("/").status_code == 200
        answer = http.post("/gradio_api/upload", files={"files": ("a.png", png())})
        assert answer.status_code == 200
