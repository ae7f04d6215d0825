import builtins
import socket
import threading

import pytest

from ovs_core.commands import main
from ovs_core.errors import UserError
from ovs_core.web import server
from ovs_core.web.server import Settings, free_port, require_gradio, serve


def test_a_taken_port_is_passed_over():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert port < free_port("127.0.0.1", port) < port + 100


def test_an_address_that_is_not_ours():
    with pytest.raises(UserError, match="--host 192.0.2.1: not an address of this machine"):
        free_port("192.0.2.1", 7860)


def test_without_gradio_one_line_names_the_extra(monkeypatch, capsys):
    whole_import = builtins.__import__

    def no_gradio(name, *args, **kwargs):
        if name == "gradio":
            raise ImportError("No module named 'gradio'")
        return whole_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_gradio)
    with pytest.raises(UserError, match=r"pip install -e '\.\[web\]'"):
        require_gradio()
    assert main(["web"]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ") and "pip install -e '.[web]'" in line


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--port", "0"], "--port 0: must be between 1 and 65535"),
        (["--max-upload", "0"], "must be above 0"),
        (["--weights", "x.pth"], "--weights needs --methods"),
    ],
)
def test_mistakes_on_the_command_line(argv, said, capsys):
    assert main(["web", *argv]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_other_machines_get_in_only_with_a_warning(host, warned, monkeypatch, capsys):
    class Page:
        def close(self, verbose):
            pass

    folders = []
    monkeypatch.setattr(server, "require_gradio", lambda: None)
    monkeypatch.setattr(server, "launch", lambda *given: folders.append(given[-1]) or Page())
    monkeypatch.setenv("GRADIO_TEMP_DIR", "as before")
    stop = threading.Event()
    stop.set()
    serve([], Settings(host=host), stop=stop)
    shown = capsys.readouterr()
    assert ("no password" in shown.err) is warned
    assert shown.out.startswith("http://127.0.0.1:")
    assert not folders[0].exists()


def test_every_answer_carries_the_content_policy():
    import asyncio

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]})

    async def ask():
        sent = []

        async def send(message):
            sent.append(message)

        await server.SecurityHeaders(app)({"type": "http"}, None, send)
        return sent

    ((start,)) = asyncio.run(ask())
    headers = dict(start["headers"])
    assert headers[b"a"] == b"b"
    assert b"default-src 'self'" in headers[b"content-security-policy"]
