import subprocess
import sys
from importlib import metadata

import pytest

from ovs_core import commands, list_configs, list_methods
from ovs_core.commands import COMMANDS, load_command, main, methods
from ovs_core.commands.offered import OFFERED, load_offer, offering, project_of
from ovs_core.errors import UserError
from ovs_core.methods.projects import config_dir

OFFERS = [(name, project) for name in OFFERED for project in offering(name)]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in OFFERED])
def test_every_command_answers_help_with_examples(name, capsys):
    assert main([name, "-h"]) == 0
    shown = capsys.readouterr().out
    module = load_command(name)
    assert module.EXAMPLES and all(line in shown for line in module.EXAMPLES)
    assert all(line.startswith(f"ovsuite {name}") for line in module.EXAMPLES)


@pytest.mark.parametrize(("name", "project"), OFFERS)
def test_what_a_project_offers_answers_help_with_examples(name, project, capsys):
    assert main([name, "-h"]) == 0
    assert project in capsys.readouterr().out
    assert main([name, project, "-h"]) == 0
    shown, module = capsys.readouterr().out, load_offer(name, project)
    assert module.EXAMPLES and all(line in shown for line in module.EXAMPLES)
    assert all(line.startswith(f"ovsuite {name}") for line in module.EXAMPLES)


def test_a_method_that_offers_nothing(capsys):
    assert main(["merge", "cliptrase/tiny", "--output", "x.safetensors"]) == 1
    assert capsys.readouterr().err == (
        "error: cliptrase has nothing for `ovsuite merge`; these have: hclip\n"
    )
    assert main(["merge", "hclipp", "--output", "x"]) == 1
    assert "Did you mean 'hclip" in capsys.readouterr().err
    assert main(["analyse"]) == 2
    assert "name the method: METHOD in front" in capsys.readouterr().err


@pytest.mark.parametrize("name", [None, *OFFERED])
def test_the_help_needs_no_torch(name):
    line = [*([name] if name else []), "-h"]
    code = (
        f"import sys; from ovs_core.commands import main; main({line}); "
        "sys.exit('torch' in sys.modules or 'detectron2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in ([name] if name else COMMANDS))


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


def test_the_project_of_a_method():
    assert project_of("hclip") == project_of("hclip/tiny") == "hclip"
    assert project_of(str(config_dir("sptseg") / "tiny.yaml")) == "sptseg"
    assert OFFERS
