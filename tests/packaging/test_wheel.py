"""The wheel holds the packages with their data and types, and nothing that only tests need."""

import configparser
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from ovs_core.methods.projects import project_names

ROOT = Path(__file__).resolve().parents[2]
# Read by people who have the suite's folder; a wheel has the text of the README in its metadata.
LEFT_OUT = {".md"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that no leftover of an earlier build gets in or stays behind."""
    folder = tmp_path_factory.mktemp("suite with a blank")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "projects", folder / "projects", ignore=ignored)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    command = [*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", "wheels", "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = (folder / "wheels").iterdir()
    return path


def names_in(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def stated_version():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return setup["metadata"]["version"]


def test_it_holds_every_file_of_the_packages_and_no_other(wheel):
    files = (p for p in (ROOT / "projects").rglob("*") if p.is_file())
    expected = {
        p.relative_to(ROOT / "projects").as_posix()
        for p in files
        if p.suffix not in LEFT_OUT and not re.search(r"__pycache__|\.egg-info", str(p))
    }
    assert names_in(wheel) == expected


def test_it_holds_weights_configs_lists_and_types(wheel):
    names = names_in(wheel)
    assert {PurePosixPath(name).suffix for name in names} >= {".py", ".yaml", ".json"}
    assert "ovs_core/clip/embedded/vit.safetensors" in names
    for package in ("ovs_core", *project_names()):
        assert f"{package}/py.typed" in names
    for package in project_names():
        assert any(name.startswith(f"{package}/configs/") for name in names)


def test_it_holds_no_test_and_no_comparison_with_references(wheel):
    modules = [PurePosixPath(name) for name in names_in(wheel) if name.endswith(".py")]
    parts = {part for path in modules for part in path.with_suffix("").parts}
    assert not parts & {"tests", "parity", "conftest"}
    assert not any(part.startswith("test_") for part in parts)


RUN = """
import sys
sys.path.insert(0, {folder!r})
import numpy as np
import ovs_core
assert ovs_core.__file__.startswith({folder!r}), ovs_core.__file__
from ovs_core import Predictor, list_methods
picture = np.random.default_rng(0).integers(0, 255, (64, 96, 3), dtype=np.uint8)
result = Predictor.from_config("cliptrase/tiny", device="cpu")(picture, ["sky", "car"])
print(ovs_core.__version__, result.labels.shape, *list_methods())
"""


@pytest.mark.slow
def test_it_runs_where_it_is_unpacked(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "unpacked")
    code = RUN.format(folder=str(tmp_path / "unpacked"))
    # -I: neither PYTHONPATH nor the current folder can lend it a file.
    command = [sys.executable, "-I", "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = " ".join([stated_version(), "(64, 96)", *sorted(project_names())])
    assert done.stdout.strip().splitlines()[-1] == said
