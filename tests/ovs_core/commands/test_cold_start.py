"""What a command does not load, it does not wait for: modules are counted, not seconds."""

import subprocess
import sys

import pytest

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


@pytest.mark.slow
def test_a_predictor_loads_no_training_page_or_student():
    loaded = loaded_by("from ovs_core import Predictor\nPredictor.from_config('cliptrase/tiny')")
    assert "ovs_core.predict.predictor" in loaded and "cliptrase" in loaded
    assert not loaded & {"gradio", "scipy.optimize", "tensorboard", "matplotlib", "onnx"}
