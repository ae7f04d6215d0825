"""Config files hold plain values; nothing in them runs, reaches elsewhere or repeats itself."""

import os
import subprocess
from pathlib import Path

import pytest

from ovs_core.engine.config import load_cfg
from ovs_core.engine.config_files import read_config
from ovs_core.errors import UserError

CALLS = (
    "OUTPUT_DIR: !!python/object/apply:os.system ['touch canary']",
    "OUTPUT_DIR: !!python/object/apply:eval [\"open('canary', 'w').close()\"]",
    "X: !!python/object/new:subprocess.Popen [[touch, canary]]",
    "OUTPUT_DIR: !!python/module:antigravity ''",
    "OUTPUT_DIR: !!python/name:os.system ''",
)
WRONG = {
    "empty": ("", "holds nothing where a map"),
    "null": ("null", "holds nothing where a map"),
    "scalar": ("5", "holds a int where a map"),
    "list": ("- 5", "holds a list where a map"),
    "two documents": ("a: 1\n---\nb: 2\n", "not valid YAML"),
    "tab": ("MODEL:\n\tDEVICE: cpu", "not valid YAML"),
    "number as key": ("5: 6", "line 1: the key '5' is no text"),
    "list as key": ("? [a]\n: 6", "line 1: the key 'a list or map' is no text"),
    "key twice": ("SEED: 1\nSEED: 2", "line 2: the key 'SEED' stands twice"),
    "merge key": ("A: &a {B: 1}\nC: {<<: *a}", "line 2: merge keys"),
    "alias in itself": ("MODEL: &m\n  OVS: *m", "an alias .* stands inside what it names"),
    "deep": ("a: " + "[" * 5000 + "]" * 5000, "nested deeper than 50"),
    "base is a number": ("_BASE_: 5", "_BASE_ is 5; expected a file name"),
    "base is nothing": ("_BASE_:", "_BASE_ is None; expected a file name"),
    "base on a network": ("_BASE_: http://127.0.0.1:9/x.yaml", "lies on a network"),
    "base elsewhere": ("_BASE_: /etc/passwd", "_BASE_ /etc/passwd lies outside"),
    "base above": ("_BASE_: ../above.yaml", "_BASE_ ../above.yaml lies outside"),
    "base missing": ("_BASE_: nothere.yaml", "_BASE_ nothere.yaml is no file"),
    "base without a name": ('_BASE_: "a\\0b"', r"_BASE_ a\\x00b is no file"),
    "base of no characters": ('_BASE_: "\\ud800"', r"_BASE_ \\ud800 is no file"),
    "base is itself": ("_BASE_: config.yaml", "stands on itself"),
    "old version": ("VERSION: 1", "VERSION is 1"),
    "unknown key": ("MODEL: {DEVISE: cpu}", "unknown key 'MODEL.DEVISE'.*MODEL.DEVICE"),
    "group is a value": ("MODEL: 5", "MODEL"),
}


def write(folder: Path, text: str, name: str = "config.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """A folder in which a call would leave a trace."""

    def called(*arguments, **options):
        raise AssertionError(f"a config ran {arguments}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "system", called)
    monkeypatch.setattr(subprocess, "Popen", called)
    return tmp_path


@pytest.mark.parametrize("through_base", [False, True])
@pytest.mark.parametrize("text", CALLS)
def test_no_code_runs(watched, text, through_base):
    path = write(watched, text)
    if through_base:
        path = write(watched, "_BASE_: config.yaml", "leaf.yaml")
    with pytest.raises(UserError, match="config.yaml: refused: line 1 holds more than plain"):
        load_cfg(path)
    assert not (watched / "canary").exists()


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_one_line(tmp_path, name):
    text, message = WRONG[name]
    write(tmp_path, "SEED: 1", "above.yaml")
    folder = tmp_path / "below"
    folder.mkdir()
    with pytest.raises(UserError, match=message) as caught:
        load_cfg(write(folder, text))
    assert "\n" not in str(caught.value)
    assert "config.yaml" in str(caught.value)


def test_aliases_do_not_fill_the_memory(tmp_path):
    lines = ["k0: &k0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"k{i}: &k{i} [{', '.join([f'*k{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(UserError, match="more than 100,000 values"):
        load_cfg(write(tmp_path, "\n".join(lines)))


def test_later_files_win(tmp_path):
    write(tmp_path, "SOLVER: {BASE_LR: 1.0, MAX_ITER: 1}\nSEED: 1", "first.yaml")
    write(tmp_path, "SOLVER: {BASE_LR: 2.0}", "second.yaml")
    leaf = write(tmp_path, "_BASE_: [first.yaml, second.yaml]\nSOLVER: {MAX_ITER: 3}")
    assert read_config(leaf) == {"SOLVER": {"BASE_LR": 2.0, "MAX_ITER": 3}, "SEED": 1}


def test_a_base_may_be_the_suites(tmp_path):
    from ovs_core.methods.configs import find_config

    leaf = write(tmp_path, f"_BASE_: {find_config('cliptrase/tiny')}\nSEED: 5")
    assert load_cfg(leaf).SEED == 5


def test_a_base_that_is_a_circle_of_links(tmp_path):
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    with pytest.raises(UserError, match="_BASE_ loop.yaml is no file"):
        load_cfg(write(tmp_path, "_BASE_: loop.yaml"))
