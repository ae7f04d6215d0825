"""What a command does not load, it does not wait for: modules are counted, not seconds."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import ovs_core

HELP = "from ovs_core.commands import main; assert main(['-h']) == 0"


def loaded_by(code):
    """Names of the modules that are loaded after some code, and those above them."""
    shown = "import sys; sys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{shown}"], capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


@pytest.mark.parametrize("code", ["import ovs_core", HELP])
def test_the_package_and_the_help_load_nothing_that_takes_long(code):
    loaded = loaded_by(code)
    assert "ovs_core" in loaded
    assert not loaded & {
        "torch", "detectron2", "numpy", "PIL", "transformers", "gradio", "scipy", "yaml",
        "importlib.metadata", "inspect", "dataclasses", "difflib", "logging",
    }  # fmt: skip


def test_the_version_is_told_when_it_is_asked_for(capsys):
    from ovs_core import __version__
    from ovs_core.commands import main

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ovsuite {__version__}\n"


def test_no_module_loads_what_only_a_training_or_a_student_needs():
    late = re.compile(r"^(from|import) (scipy\.optimize|transformers|tensorboard)\b", re.M)
    source = Path(ovs_core.__file__).parents[1]
    found = [str(path) for path in source.rglob("*.py") if late.search(path.read_text("utf-8"))]
    assert not found
