"""The notebooks are small, lead somewhere, and run; what they say on the way is documented."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from . import notebooks
from .columns import columns_of_runs, unexplained
from .reading import ROOT, undocumented
from .test_commands import parse
from .test_links import anchors

RUNNER = Path(notebooks.__file__)
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
MAKES = {  # what a reader has in the end
    "own_dataset": ["output/own/model_final.pth", "own.safetensors", "own.md"],
    "own_method": ["elsewhere/projects/mymethod/model.py"],
    "own_photographs": ["results/scene5_overlay.png", "side_by_side/sheet.png"],
}


def named(path):
    return path.stem


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_a_notebook_is_small_and_holds_no_results(path):
    assert path.stat().st_size < 20_000
    content = json.loads(path.read_text())
    assert content["nbformat"] == 4
    ids = [cell["id"] for cell in content["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=named)
def test_its_commands_and_links_exist(path, monkeypatch):
    for _, text in notebooks.cells(path):
        for words in notebooks.commands_of(text):
            assert parse(["ovsuite", *words], monkeypatch).command == words[0]
    cells = json.loads(path.read_text())["cells"]
    prose = "".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    links = re.findall(r"\]\((?!https?://)([^)\s]+)\)", prose)
    assert links
    for target in links:
        name, _, anchor = target.partition("#")
        found = (path.parent / name).resolve()
        assert found.exists()
        assert not anchor or anchor in anchors(found.relative_to(ROOT))


@pytest.mark.slow
def test_notebooks_run(tmp_path):
    """One process after the other cell by cell; each leaves what it promises."""
    assert {path.stem for path in NOTEBOOKS} == MAKES.keys()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "projects"), "CUDA_VISIBLE_DEVICES": "",
                   "OVSUITE_CACHE": str(tmp_path / "cache"), "MPLBACKEND": "agg"}  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(RUNNER), str(tmp_path), *map(str, NOTEBOOKS)],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert undocumented(done.stderr) == []
    assert unexplained(columns_of_runs(tmp_path)) == []
    for stem, files in MAKES.items():
        for file in files:
            assert (tmp_path / stem / file).is_file()
    shown = {m[1]: float(m[2]) for m in re.finditer(r"^(\S+)[^\n]*?([\d.]+)%$", done.stdout, re.M)}
    assert shown["sclip:"] > shown["clip:"]
