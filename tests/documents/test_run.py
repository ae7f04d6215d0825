"""The documents, followed literally from top to bottom."""

import contextlib
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ovs_core.commands import main

from .columns import columns_of_runs, unexplained
from .reading import DOCUMENTS, ROOT, RUN, blocks, commands, undocumented

PROJECTS = ROOT / "projects"


def write(block, folder):
    """Write a block that is the content of a file."""
    path = folder / block.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text)


def run_command(words, monkeypatch):
    """Run one command line in this process, from the current folder."""
    if words[0] == "ovsuite":
        assert main(words[1:]) == 0, shlex.join(words)
        return
    assert words[0] == "python", f"no way to run {shlex.join(words)}"
    # Scripts and their data are named from the suite's folder, results from the current one.
    arguments = [str(ROOT / word) if (ROOT / word).exists() else word for word in words[1:]]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", arguments)
        with contextlib.suppress(SystemExit) as stopped:
            runpy.run_path(arguments[0], run_name="__main__")
        assert stopped is None or not stopped.code, shlex.join(words)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("document", RUN)
def test_a_document_runs(document, tmp_path, monkeypatch, capfd):
    """What it says on the way, and the columns that it writes, are explained."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "projects").symlink_to(PROJECTS)
    names = {"__name__": "reader"}
    ran = 0
    for block in blocks(document):
        if not block.runs:
            continue
        if block.file:
            write(block, tmp_path)
        elif block.language == "python":
            exec(compile(block.text, block.place, "exec"), names)
        elif block.language == "bash":
            for words in commands(block):
                run_command(words, monkeypatch)
        ran += 1
    assert ran
    assert undocumented(capfd.readouterr().err) == []
    assert unexplained(columns_of_runs(tmp_path)) == []


def make_world_smaller(root):
    """Leave 40 and 12 of the 1,000 and 200 pictures of the embedded world of a copied suite."""
    file = root / "ovs_core" / "data" / "embedded" / "dataset.py"
    source = file.read_text()
    for count, fewer in ((1000, 40), (200, 12)):
        assert source.count(f"SplitSpec({count}, ") == 1
        source = source.replace(f"SplitSpec({count}, ", f"SplitSpec({fewer}, ")
    file.write_text(source)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_method_of_contributing_trains_and_segments(tmp_path):
    """A copy of the suite with one more folder, and one more rule: nothing else is edited."""
    from PIL import Image

    from ovs_core.data.embedded.scenes import render_scene

    root = tmp_path / "projects"
    shutil.copytree(PROJECTS, root, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    make_world_smaller(root)
    Image.fromarray(render_scene(seed=8, size=(96, 128)).image).save(tmp_path / "scene.png")
    environment = {
        **os.environ, "PYTHONPATH": str(root), "OVSUITE_CACHE": str(tmp_path / "cache"),
    }  # fmt: skip
    ran = []
    for block in blocks("CONTRIBUTING.md"):
        if block.file:
            write(block, root)
        elif block.note.startswith("run with"):
            for words in commands(block):
                assert words[0] == "ovsuite"
                command = [sys.executable, "-m", "ovs_core", *words[1:]]
                done = subprocess.run(
                    command, cwd=tmp_path, env=environment, capture_output=True, text=True
                )
                assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
                assert undocumented(done.stderr) == []
                ran.append(words[1])
    assert ran == ["methods", "train", "evaluate", "segment", "evaluate", "compare"]
    (overlay,) = (tmp_path / "out").glob("*_overlay.png")
    assert Image.open(overlay).size[0] >= 128
    results = Path(tmp_path / "output" / "mymethod_eval").rglob("*.json")
    assert any("mIoU" in path.read_text() for path in results)
    results = Path(tmp_path / "output" / "cliptrase_tiny_keycosine").rglob("*.json")
    assert any("mIoU" in path.read_text() for path in results)
    assert list((tmp_path / "compared").iterdir())


def test_the_templates_are_those_of_the_document():
    shown = {block.file: block.text for block in blocks("GETTING_STARTED.md") if block.file}
    templates = {f"configs/{p.name}": p.read_text() for p in (ROOT / "configs").iterdir()}
    assert templates and templates.items() <= shown.items()


def of_the_embedded_world(words):
    """Whether a command line trains or evaluates a tiny config."""
    runs = words[:2] in (["ovsuite", "train"], ["ovsuite", "evaluate"])
    return runs and any(w.partition("/")[2].endswith("tiny") for w in words)


def tiny_blocks():
    """The trainings and evaluations of the embedded world in the READMEs of the projects.

    A block at a time, since a command may read what one above it has written.
    """
    for document in DOCUMENTS:
        if document in RUN or document == "CONTRIBUTING.md":
            continue
        for block in blocks(document):
            if lines := [words for words in commands(block) if of_the_embedded_world(words)]:
                yield pytest.param(document, lines, id=block.place)


@pytest.mark.slow
@pytest.mark.parametrize(("document", "lines"), list(tiny_blocks()))
def test_tiny_commands_run(document, lines, tmp_path, monkeypatch):
    """Trainings are cut to two steps and leave the validation set out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for block in blocks(document):
        if match := re.match(r"# (\w+\.py)\n", block.text):
            (tmp_path / match[1]).write_text(block.text)
    for words in lines:
        short = [] if "evaluate" in words else ["SOLVER.MAX_ITER", "2", "DATASETS.TEST", "()"]
        run_command([*words, *short, "MODEL.DEVICE", "cpu"], monkeypatch)
    assert any((tmp_path / "output").iterdir())


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if d not in RUN])
def test_python_of_the_other_documents_imports(document, tmp_path, monkeypatch):
    """Code that needs weights or files of the reader is compiled, and its imports are run."""
    for block in blocks(document):
        if block.language != "python" or block.file:
            continue
        code = compile(block.text, block.place, "exec")
        assert code
        lines = [line for line in block.text.splitlines() if line.startswith(("import ", "from "))]
        exec("\n".join(lines), {})
