"""A new method passes lint, is what CONTRIBUTING explains, and overwrites nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ovs_core.commands import main
from ovs_core.errors import UserError
from ovs_core.methods import new_method
from ovs_core.methods.new_method import (
    LONGEST,
    suite_folder,
    template_files,
    write_new_method,
)
from ovs_core.methods.projects import SOURCE_ROOT
from tests.documents.reading import blocks

ROOT = Path(__file__).resolve().parents[3]


def test_it_is_the_example_of_the_document():
    example = [b for b in blocks("CONTRIBUTING.md") if b.file.startswith("mymethod/")]
    shown = {f"projects/{block.file}": block.text for block in example}
    written = template_files("mymethod")
    assert shown and {name: written[name] for name in shown} == shown


@pytest.mark.parametrize("name", ["x", "my_method2", "m" * LONGEST])
def test_it_passes_lint(tmp_path, name):
    files = write_new_method(name, tmp_path)
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
        ("m" * (LONGEST + 1), "is too long for a method"),
    ],
)
def test_names_that_cannot_be(tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        write_new_method(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "tests" / "newest").mkdir(parents=True)
    with pytest.raises(UserError, match="exists already"):
        write_new_method("newest", tmp_path)
    assert not (tmp_path / "projects").exists()


def test_the_command_says_where_it_is_found(tmp_path, capsys):
    assert main(["new-method", "newest", "--folder", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert f"lies beside ovs_core: in {SOURCE_ROOT}" in shown
    assert (tmp_path / "projects" / "newest" / "model.py").is_file()
    assert (tmp_path / "tests" / "newest" / "test_model.py").is_file()


def test_a_key_of_the_suite_is_no_name(tmp_path, capsys):
    """Its ``add_clip_config`` would replace all keys of CLIP."""
    assert main(["new-method", "clip", "--folder", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: MODEL.CLIP is a key of the suite")
    assert list(tmp_path.iterdir()) == []


def test_an_installed_suite_has_no_place_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(new_method, "SOURCE_ROOT", tmp_path / "site-packages")
    with pytest.raises(UserError, match="installed as a package in .*site-packages.*--folder"):
        suite_folder()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_fits_into_the_suite_at_once(tmp_path):
    """A copy of the suite with the new folder: types, documents, and the method's own test."""
    left = (".git", ".venv", ".*cache", ".hypothesis", "__pycache__", "build", "*.egg-info")
    shutil.copytree(ROOT, tmp_path / "suite", ignore=shutil.ignore_patterns(*left, "output"))
    write_new_method("newest", tmp_path / "suite")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "suite" / "projects")}
    for command in (
        ["mypy", "--cache-dir", str(tmp_path / "types"), "projects/newest"],
        ["pytest", "-p", "no:cacheprovider", "-m", "not slow", "tests/newest", "tests/documents",
         "-k", "not test_a_command_is_understood or newest"],  # the other commands stay as they are
    ):  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path / "suite", env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
