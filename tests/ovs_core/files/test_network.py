"""Fetching from a server on this machine, and machines that cannot be reached."""

import hashlib
import http.server
import socket
import threading

import pytest

from ovs_core.errors import UserError
from ovs_core.files.network import fetch_file, why_unreachable

CONTENT = bytes(range(256)) * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Knows ``/file``, and ``/cut``, which breaks off in the middle."""

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        if self.answer():
            self.wfile.write(CONTENT if self.path == "/file" else CONTENT[:1000])

    def answer(self):
        found = self.path in ("/file", "/cut")
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(CONTENT)) if found else "0")
        self.end_headers()
        return found

    def log_message(self, *args):
        """Say nothing."""


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{one.server_port}"
        one.shutdown()


def test_a_file_is_fetched_and_verified(server, tmp_path, capsys):
    path = tmp_path / "new" / "file.bin"
    assert fetch_file(f"{server}/file", path, sha256=SHA256) == (len(CONTENT), SHA256)
    assert path.read_bytes() == CONTENT
    assert "100%" in capsys.readouterr().err
    fetch_file(f"{server}/file", path, sha256=SHA256[:8], progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "sha256", "message"),
    [
        ("file", "0" * 64, "is not what was published"),
        ("cut", "", "ended after 1000 of 1280000 bytes"),
        ("none", "", "cannot be fetched .*404"),
    ],
)
def test_nothing_is_kept_of_what_is_wrong(server, tmp_path, name, sha256, message):
    path = tmp_path / "file.bin"
    path.write_text("before")
    with pytest.raises(UserError, match=message):
        fetch_file(f"{server}/{name}", path, sha256=sha256, progress=False)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_files_of_this_machine_are_no_addresses(tmp_path):
    (tmp_path / "secret").write_text("x")
    with pytest.raises(UserError, match="no address of http"):
        fetch_file(f"file://{tmp_path / 'secret'}", tmp_path / "copy", progress=False)
    assert "no address of http" in why_unreachable(f"file://{tmp_path / 'secret'}")


def test_what_answers_can_be_reached(server):
    assert why_unreachable(f"{server}/file", 60) == ""
    assert why_unreachable(f"{server}/none", 60) == ""  # whoever fetches says so better


def test_why_a_machine_cannot_be_reached(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert "refused" in why_unreachable(closed, 60)

    def unknown(*args, **keywords):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", unknown)
    assert why_unreachable("https://hub.example/x", 60) == (
        "hub.example cannot be reached (Name or service not known)"
    )


def test_a_machine_that_is_silent_is_given_up(monkeypatch):
    """As where a firewall swallows what is sent, or the name server does not answer."""
    released = threading.Event()

    def wait():
        released.wait(60)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", lambda *a, **k: wait())
    assert why_unreachable("https://hub.example/x", 0.2) == (
        "hub.example cannot be reached (no answer)"
    )
    released.set()


def test_behind_a_proxy_the_proxy_is_asked(server, monkeypatch):
    """It answers for hosts that this machine could not find itself."""
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", server)
    assert why_unreachable("http://hub.example/x", 60) == ""
