"""The installer of Detectron2, against a package index and a repository made here."""

import dataclasses
import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import detectron2_sources
import install_detectron2 as tool
import pytest

ROOT = Path(__file__).resolve().parents[2]
PATCHED = {
    "evaluation/sem_seg_evaluation.py": (
        "def load(f, copy, dtype):\n    with f:\n"
        "        array = np.array(Image.open(f), copy=copy, dtype=dtype)\n    return array\n"
    ),
    "engine/defaults.py": (
        "def create(model, **kwargs):\n"
        '    if "device_ids" not in kwargs:\n'
        '        kwargs["device_ids"] = [0]\n    return kwargs\n'
    ),
}
PACKAGE = {
    "__init__.py": '__version__ = "0.6"\n',
    "evaluation/__init__.py": "",
    "engine/__init__.py": "import {name}.evaluation\nLOG = '{name}.engine'\n",
    "model_zoo/__init__.py": "",
    "model_zoo/configs/Base.yaml": "# {name}.modeling\n",
    "model_zoo/configs/common/train.py": "from {name}.engine import LOG\n",
    **PATCHED,
}


@pytest.fixture
def index(tmp_path, monkeypatch):
    """An empty folder that is the only place where pip may look."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


@pytest.fixture
def no_detectron2(monkeypatch):
    """As if nothing were installed, so that each request has to fetch."""
    monkeypatch.setattr(tool, "installed_record", lambda: None)


@pytest.fixture
def carrier(index):
    """A wheel that carries a small Detectron2 as the real one does, and its checksum."""
    wheel = index / "labgym-3.1.2-py3-none-any.whl"
    members = {
        f"LabGym/detectron2/{path}": text.replace("{name}", "LabGym.detectron2")
        for path, text in PACKAGE.items()
    }
    members["LabGym/__init__.py"] = "raise AssertionError('only Detectron2 may be taken')\n"
    members["LabGym/NOTICE.txt"] = "Detectron2 is somebody's product.\n"
    members["labgym-3.1.2.dist-info/METADATA"] = (
        "Metadata-Version: 2.1\nName: labgym\nVersion: 3.1.2\nRequires-Python: <3.0\n"
        "Requires-Dist: nothing-that-exists\n"
    )
    members["labgym-3.1.2.dist-info/WHEEL"] = (
        "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    members["labgym-3.1.2.dist-info/RECORD"] = ""
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def use_source(monkeypatch, name, **changes):
    source = dataclasses.replace(tool.SOURCES[name], **changes)
    monkeypatch.setitem(tool.SOURCES, name, source)
    return source


def built_files(source, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    (wheel,) = tool.build_wheel(source, work).iterdir()
    assert wheel.name == "detectron2-0.6-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_pypi_wheel_is_detectron2_under_its_own_name(carrier, tmp_path, monkeypatch):
    source = use_source(monkeypatch, "pypi", pin=carrier)
    files = built_files(source, tmp_path)

    code = {name: text for name, text in files.items() if name.startswith("detectron2/")}
    assert set(code) == {f"detectron2/{path}" for path in (*PACKAGE, tool.RECORD_FILE)}
    for name in set(code) - {f"detectron2/{tool.RECORD_FILE}"}:
        assert "LabGym" not in code[name]
    assert (
        "import detectron2.evaluation\nLOG = 'detectron2.engine'"
        in (code["detectron2/engine/__init__.py"])
    )
    assert code["detectron2/model_zoo/configs/Base.yaml"] == "# detectron2.modeling\n"

    record = json.loads(code[f"detectron2/{tool.RECORD_FILE}"])
    assert record["source"] == "pypi"
    assert record["pin"] == carrier
    assert set(record["changes"]) == set(PATCHED)

    information = "detectron2-0.6.dist-info"
    for requirement in ("fvcore", "hydra-core", "yacs"):
        assert f"Requires-Dist: {requirement}" in files[f"{information}/METADATA"]
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert files[f"{information}/licenses/LICENSE"] == licence
    assert "somebody's product" in files[f"{information}/licenses/NOTICE.carrier"]
    notice = files[f"{information}/licenses/NOTICE"]
    assert source.note in notice
    assert all(path in notice for path in PATCHED)


def test_patches_are_python_and_say_that_they_are_changes(tmp_path):
    for path, text in PATCHED.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    assert set(tool.apply_patches(tmp_path)) == set(PATCHED)
    for path, text in PATCHED.items():
        changed = (tmp_path / path).read_text(encoding="utf-8")
        compile(changed, path, "exec")
        assert changed != text
        assert "Changed by OVSuite" in changed
    assert tool.apply_patches(tmp_path) == {}, "a mended file must be left alone"


@pytest.fixture
def repository(tmp_path):
    """A repository laid out like Detectron2's, with C++ files and configs beside the package."""
    folder = tmp_path / "repository"
    files = {f"detectron2/{path}": text for path, text in PACKAGE.items()}
    files = {name: text for name, text in files.items() if "/configs/" not in name}
    files["detectron2/layers/__init__.py"] = ""
    files["detectron2/layers/csrc/vision.cpp"] = "int main;\n"
    files["detectron2/projects/__init__.py"] = ""
    files["configs/Base.yaml"] = "VERSION: 2\n"
    files["setup.py"] = "raise AssertionError('its own setup would compile')\n"
    for project in ("PointRend/point_rend", "DeepLab/deeplab", "Panoptic-DeepLab/panoptic_deeplab"):
        files[f"projects/{project}/__init__.py"] = ""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.replace("{name}", "detectron2"), encoding="utf-8")
    git = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "all"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return folder.as_uri(), commit.stdout.strip()


def test_git_source_takes_python_files_only(repository, index, tmp_path, monkeypatch):
    url, commit = repository
    files = built_files(use_source(monkeypatch, "git", origin=url, pin=commit), tmp_path)
    assert "detectron2/model_zoo/configs/Base.yaml" in files
    assert "detectron2/projects/point_rend/__init__.py" in files
    assert not [name for name in files if "csrc" in name]
    assert json.loads(files[f"detectron2/{tool.RECORD_FILE}"])["pin"] == commit


def test_git_source_without_the_pinned_commit_is_refused(repository, tmp_path, monkeypatch):
    source = use_source(monkeypatch, "git", origin=repository[0], pin="0" * 40)
    with pytest.raises(tool.UnreachableError, match="git fetch"):
        source.fetch(source, tmp_path)


@pytest.mark.parametrize("choice", ["auto", "pypi"])
def test_changed_wheel_is_refused(choice, carrier, no_detectron2, tmp_path, monkeypatch, capsys):
    use_source(monkeypatch, "git", origin=(tmp_path / "absent").as_uri())
    assert tool.main(["--source", choice]) == 1
    message = capsys.readouterr().err
    assert "labgym-3.1.2-py3-none-any.whl is not the file that this tool expects" in message
    assert f"expected sha256 {detectron2_sources.CARRIER_SHA256}" in message
    assert f"received sha256 {carrier}" in message


def test_unreachable_sources_give_one_message(index, no_detectron2, tmp_path, monkeypatch, capsys):
    use_source(monkeypatch, "git", origin=(tmp_path / "absent").as_uri())
    assert tool.main([]) == 1
    message = capsys.readouterr().err
    assert message.count("error: Detectron2 was not installed") == 1
    assert "none of the sources of Detectron2 could be reached" in message
    assert "absent" in message and "git ls-remote: fatal" in message
    assert "labgym==3.1.2" in message and "No matching distribution" in message
    assert "INSTALL.md" in message and "Traceback" not in message


def test_missing_git_is_said_and_the_next_source_tried(
    index, no_detectron2, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tool.main([]) == 1
    assert "the program 'git' is not installed" in capsys.readouterr().err


def test_silent_source_is_given_up():
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(tool.InstallError, match="no answer within 1 seconds"):
        tool.run(sleeper, "git ls-remote", timeout=1)


@pytest.mark.parametrize(
    ("record", "names", "wanted"),
    [
        (None, ["git", "pypi"], False),
        ({"source": "other"}, ["git", "pypi"], True),
        ({"source": "other"}, ["pypi"], False),
        ({**tool.SOURCES["pypi"].record(), "changes": {}}, ["git", "pypi"], True),
        ({**tool.SOURCES["pypi"].record(), "changes": {}}, ["git"], False),
        ({**tool.SOURCES["git"].record(), "pin": "an older commit"}, ["git", "pypi"], False),
        ({**tool.SOURCES["git"].record(), "recipe": "other patches"}, ["git"], False),
    ],
)
def test_when_nothing_has_to_be_done(record, names, wanted):
    assert tool.is_wanted(record, names) is wanted


def test_second_run_does_nothing_and_imports_nothing():
    """On the Detectron2 that these tests run with, whatever its source."""
    script = (
        "import sys; import install_detectron2 as tool;"
        "tool.install_first_reachable = lambda names: sys.exit('it wants to install');"
        "status = tool.main([]);"
        "assert not {'torch', 'detectron2'} & set(sys.modules); sys.exit(status)"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT / "tools", capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stdout


def test_installation_is_found_again(carrier, index, tmp_path, monkeypatch, capsys):
    """The whole way with pip, into a folder of its own instead of this environment."""
    target = tmp_path / "site"
    source = use_source(monkeypatch, "pypi", pin=carrier)
    real_pip = tool.pip

    def pip(*arguments, what):
        if arguments[0] == "install":
            if "--force-reinstall" not in arguments:
                return
            arguments += ("--target", target)
        real_pip(*arguments, what=what)

    monkeypatch.setattr(tool, "pip", pip)
    monkeypatch.setattr(tool, "CHECKED_MODULES", ("detectron2.engine",))
    monkeypatch.syspath_prepend(target)
    tool.install(source)
    assert tool.is_wanted(tool.installed_record(), ["pypi"])
    assert tool.main(["--source", "pypi"]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_package_that_does_not_import_is_not_installed(carrier, tmp_path, monkeypatch):
    source = use_source(monkeypatch, "pypi", pin=carrier)
    called = []
    real_pip = tool.pip
    monkeypatch.setattr(
        tool,
        "pip",
        lambda *a, what: called.append(what) if a[0] == "install" else real_pip(*a, what=what),
    )
    monkeypatch.setattr(tool, "CHECKED_MODULES", ("detectron2.absent_part",))
    with pytest.raises(tool.InstallError, match="does not import.*absent_part"):
        tool.install(source)
    assert "installing it" not in called
