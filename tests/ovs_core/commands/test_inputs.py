"""What a line may name: patterns, lists from standard input, addresses behind a switch."""

import argparse
import functools
import http.server
import io
import json
import sys
import threading
import types

import pytest
from PIL import Image

from ovs_core.commands import dispatch, main, parse
from ovs_core.errors import UserError
from ovs_core.files import network
from ovs_core.predict.named_inputs import expand_inputs

METHOD = "cliptrase/tiny_maskclip"


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OVSUITE_CACHE", str(tmp_path / "cache"))
    for name in ("a.png", "below/b.png", "below/c[1].png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (64, 48)).save(tmp_path / name)
    return tmp_path


def names(named, **options):
    return [str(path) for path in expand_inputs(named, **options)]


def test_patterns_are_resolved_and_a_file_of_that_name_comes_first(pictures):
    assert names(["*.png"]) == ["a.png"]
    assert names(["**/*.png"]) == ["a.png", "below/b.png", "below/c[1].png"]
    assert names(["below/c[1].png"]) == ["below/c[1].png"]
    with pytest.raises(UserError, match=r"\*\.gif: no picture, video or folder fits"):
        expand_inputs(["*.gif"])


def test_a_list_from_standard_input(pictures, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("a.png\n\nbelow/b.png\n"))
    assert names(["-"]) == ["a.png", "below/b.png"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    with pytest.raises(UserError, match="standard input names no picture"):
        expand_inputs(["-"])


def test_addresses_are_fetched_only_where_it_is_said(pictures, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            """Say nothing."""

    handler = functools.partial(Quiet, directory=str(pictures))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/below/b.png"
        with pytest.raises(UserError, match="with --urls alone"):
            expand_inputs([address])
        (path,) = expand_inputs([address], urls=True)
        assert path.read_bytes() == (pictures / "below" / "b.png").read_bytes()
        assert expand_inputs([f"{address}.tar"], urls=True) == [f"{address}.tar"]
        server.shutdown()
    assert expand_inputs(["s3://bucket/a.png"]) == ["s3://bucket/a.png"]  # of a person's store
    assert expand_inputs([address], urls=True) == [path]  # it is here now
    monkeypatch.setattr(network, "PATIENCE", 0.2)
    with pytest.raises(UserError, match="127.0.0.1 cannot be reached"):
        expand_inputs([address.replace("/b.png", "/a.png")], urls=True)


def test_compare_says_how_many_are_drawn(pictures, capsys):
    line = ["compare", "**/*.png", "--words", "car, sky", "--methods", METHOD, "--samples"]
    assert main([*line, "2", "--output", "two"]) == 0
    assert "2 of 3 pictures are drawn; --samples 3 draws all" in capsys.readouterr().out
    assert main([*line, "3", "--output", "three"]) == 0
    assert "are drawn" not in capsys.readouterr().out
    assert main([*line, "0", "--output", "none"]) == 1
    assert "--samples 0: nothing would be drawn" in capsys.readouterr().err


def test_overrides_stand_anywhere():
    args = parse(["segment", "--opts", "SEED", "-1", "A.B", "--x", "a.png", "--words", "car",
                  "--opts", "C", "2", "--output", "out", "D", "3"])  # fmt: skip
    assert args.inputs == ["a.png"] and str(args.output) == "out"
    assert args.opts == ["D", "3", "SEED", "-1", "A.B", "--x", "C", "2"]
    assert dispatch.main(["methods", "--opts", "SEED", "1"]) == 2


def test_reports_as_json(pictures, capsys):
    assert main(["methods", "--json", "methods.json"]) == 0
    text = capsys.readouterr().out
    assert all(row["method"] in text for row in json.loads(open("methods.json").read()))
    assert main(["methods", "--json", "-"]) == 0
    assert {"method", "configs", "what it is"} == json.loads(capsys.readouterr().out)[0].keys()


def test_a_shell_is_offered_the_options_of_the_command_that_is_typed(monkeypatch):
    asked = []
    stand_in = types.SimpleNamespace(
        autocomplete=lambda parser: asked.append(parser) or sys.exit(0)
    )
    monkeypatch.setitem(sys.modules, "argcomplete", stand_in)
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    monkeypatch.setenv("COMP_LINE", "ovsuite segment --wo")
    with pytest.raises(SystemExit):
        main([])
    (commands,) = (a for a in asked[0]._actions if isinstance(a, argparse._SubParsersAction))
    assert "--words" in commands.choices["segment"]._option_string_actions
