import subprocess
import sys
from importlib import metadata

import pytest

from ovs_core import commands, list_configs, list_methods
from ovs_core.commands import COMMANDS, load_command, main, methods
from ovs_core.errors import UserError


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_answers_help_with_examples(name, capsys):
    assert main([name, "-h"]) == 0
    shown = capsys.readouterr().out
    module = load_command(name)
    assert module.EXAMPLES and all(line in shown for line in module.EXAMPLES)
    assert all(line.startswith(f"ovsuite {name}") for line in module.EXAMPLES)


def test_the_help_needs_no_torch():
    code = (
        "import sys; from ovs_core.commands import main; main(['-h']); "
        "sys.exit('torch' in sys.modules or 'detectron2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "ovs_core", "-h"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: ovsuite")


def test_the_version_is_that_of_the_installed_suite(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ovsuite {metadata.version('ovsuite')}\n"


def test_methods_of_one_name(capsys):
    assert main(["methods", list_methods()[0]]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in list_configs(list_methods()[0]))


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (UserError("no such thing"), 1, "error: no such thing"),
        (ZeroDivisionError("oops"), 1, "error: ZeroDivisionError: oops (--verbose shows where)"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_failures_take_one_line(monkeypatch, capsys, raised, code, said):
    def fail(args):
        raise raised

    monkeypatch.setattr(methods, "run", fail)
    assert main(["methods"]) == code
    assert capsys.readouterr().err.strip() == said


@pytest.mark.parametrize("argv", [["--verbose", "methods"], ["methods", "--verbose"]])
def test_verbose_shows_the_trace(monkeypatch, capsys, argv):
    def fail(args):
        raise UserError("no such thing")

    monkeypatch.setattr(methods, "run", fail)
    assert main(argv) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown and shown.endswith("error: no such thing\n")


def test_a_wrong_command_line(capsys):
    assert main(["segmnt"]) == 2
    assert main([]) == 2
    assert main(["methods", "cliptrace"]) == 1
    assert "Did you mean 'cliptrase'?" in capsys.readouterr().err


def test_commands_are_listed_once():
    assert len(set(commands.COMMANDS)) == len(commands.COMMANDS)
