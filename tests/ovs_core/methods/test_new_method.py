"""A new method passes lint, is what CONTRIBUTING explains, and overwrites nothing."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ovs_core.errors import UserError
from ovs_core.methods.new_method import template_files, write_new_method
from tests.documents.reading import blocks

ROOT = Path(__file__).resolve().parents[3]


def test_it_is_the_example_of_the_document():
    shown = {block.file: block.text for block in blocks("CONTRIBUTING.md") if block.file}
    written = template_files("mymethod")
    assert shown and {name: written[name] for name in shown} == shown


@pytest.mark.parametrize("name", ["newest", "my_method2"])
def test_it_passes_lint(tmp_path, name):
    files = write_new_method(name, tmp_path / "projects")
    assert {path.name for path in files} >= {"model.py", "build.py", "README.md", "test_model.py"}
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for command in (["check", "."], ["format", "--check", "."]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("My", "cannot name a method"),
        ("class", "cannot name a method"),
        ("1st", "cannot name a method"),
        ("a-b", "cannot name a method"),
        ("../up", "cannot name a method"),
        ("torch", "is a Python package or method already"),
        ("hclip", "is a Python package or method already"),
    ],
)
def test_names_that_cannot_be(tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        write_new_method(name, tmp_path / "projects")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "tests" / "newest").mkdir(parents=True)
    with pytest.raises(UserError, match="exists already"):
        write_new_method("newest", tmp_path / "projects")
    assert not (tmp_path / "projects").exists()
