import builtins
import socket
import threading

import pytest

from ovs_core.commands import main
from ovs_core.commands import web as command
from ovs_core.errors import UserError
from ovs_core.web import choices, server
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
        (["--max-pixels", "0"], "--max-pixels must be a number above 0"),
        (["--max-upload", "0"], "--max-upload must be a number above 0"),
        (["--max-kept", "nan"], "--max-kept must be a number above 0"),
        (["--max-disk", "-1"], "--max-disk must be a number above 0"),
        (["--weights", "x.pth"], "--weights needs --methods"),
        (["--allow-host", "http://a.example.org"], "give a name without http:// and port"),
        (["--allow-host", "a.example.org:80"], "give a name without http:// and port"),
        (["--password", "x", "--no-password"], "contradict each other"),
    ],
)
def test_mistakes_on_the_command_line(argv, said, capsys):
    assert main(["web", *argv]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "password", "warned"),
    [("127.0.0.1", "", False), ("0.0.0.0", "", True), ("0.0.0.0", "sesame", False)],
)
def test_a_page_for_all_is_opened_with_a_warning(host, password, warned, monkeypatch, capsys):
    class Served:
        def close(self):
            pass

    folders = []
    monkeypatch.setattr(server, "require_gradio", lambda: None)
    monkeypatch.setattr(server, "launch", lambda *given: folders.append(given[-1]) or Served())
    monkeypatch.setenv("GRADIO_TEMP_DIR", "as before")
    stop = threading.Event()
    stop.set()
    serve([], Settings(host=host, password=password), stop=stop)
    shown = capsys.readouterr()
    assert ("no password" in shown.err) is warned
    assert shown.out.startswith("http://127.0.0.1:")
    assert not folders[0].exists()


@pytest.fixture
def settings_of(monkeypatch):
    """The settings that a command line comes to; nothing is served."""
    monkeypatch.delenv("OVSUITE_PASSWORD", raising=False)
    monkeypatch.setattr(server, "require_gradio", lambda: None)
    monkeypatch.setattr(choices, "found_choices", list)
    found = []
    monkeypatch.setattr(server, "serve", lambda _, settings: found.append(settings))

    def run(*argv):
        assert main(["web", *argv]) == 0
        return found.pop()

    return run


def test_only_this_machine_needs_no_password(settings_of):
    assert settings_of().password == ""
    assert settings_of("--host", "::1").password == ""
    assert settings_of("--host", "localhost", "--password", "sesame").password == "sesame"


def test_other_machines_need_a_password_or_a_word_about_it(settings_of, monkeypatch, capsys):
    for host in ("0.0.0.0", "::", "192.168.0.7", "lab"):
        assert main(["web", "--host", host]) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line == (
            f"error: --host {host} can be reached from other machines: give --password, set "
            "OVSUITE_PASSWORD, or say --no-password"
        )
    assert settings_of("--host", "0.0.0.0", "--no-password").password == ""
    assert settings_of("--host", "0.0.0.0", "--password", "sesame").password == "sesame"
    monkeypatch.setenv("OVSUITE_PASSWORD", "from outside")
    assert settings_of("--host", "0.0.0.0").password == "from outside"
    assert settings_of("--password").password == "from outside"
    assert settings_of("--host", "0.0.0.0", "--no-password").password == ""


def test_a_password_can_be_typed(settings_of, monkeypatch, capsys):
    assert main(["web", "--password"]) == 1  # nobody is there to type it
    assert "--password is empty" in capsys.readouterr().err
    monkeypatch.setattr(command.sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(command, "getpass", lambda prompt: "typed")
    assert settings_of("--password").password == "typed"


def test_names_of_a_proxy(settings_of):
    names = settings_of("--allow-host", "a.example.org", "--allow-host", "b", "c").names
    assert names == ["a.example.org", "b", "c"]
