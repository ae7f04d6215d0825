"""A program of any words without the suite: in Python and in a browser, on the embedded CLIP."""

import functools
import http.server
import re
import shutil
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovs_core.commands import main
from ovs_core.data.embedded.scenes import render_scene
from ovs_core.engine.config import load_cfg
from ovs_core.export import export_open
from ovs_core.export.run import build_with_words
from ovs_core.methods.configs import find_config
from ovs_core.words.vocabulary import Vocabulary

ROOT = Path(__file__).parents[2]
PACKAGE = "onnxruntime-web@1.30.0"
SERVED = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
WRITTEN, OTHER = "car, tree, sky", "snow, hat, stone, sand, grass"
PATIENCE = 120_000  # milliseconds; only a hang takes as long

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A program, other words for it and a picture, none of them of the size of the trace."""
    pytest.importorskip("onnxscript", reason="onnx is not installed: pip install -e '.[onnx]'")
    folder = tmp_path_factory.mktemp("open")
    cfg = load_cfg(find_config("cliptrase/tiny_scr"), ["MODEL.DEVICE", "cpu"])
    assert all(check.passed for check in export_open(cfg, WRITTEN, folder / "open.onnx"))
    given = ["export", "cliptrase/tiny_scr", "--open", "--words", OTHER]
    assert main([*given, "--output", str(folder / "other.safetensors")]) == 0
    image = render_scene(5, (150, 210)).image
    Image.fromarray(image).save(folder / "photo.png")
    model = build_with_words(cfg, Vocabulary.parse(OTHER))
    labels = model([{"image": to_tensor(image)}])[0]["sem_seg_labels"].numpy()
    found = zip(*np.unique(labels, return_counts=True), strict=True)
    return folder, {model.vocabulary.names[index]: int(count) for index, count in found}


def to_tensor(image):
    import torch

    return torch.from_numpy(image.transpose(2, 0, 1).copy())


def assert_near(found, expected, pixels=150 * 210):
    """A tie may turn by rounding, no more."""
    names = found.keys() | expected.keys()
    assert sum(abs(found.get(n, 0) - expected.get(n, 0)) for n in names) <= 0.001 * pixels


def test_the_documented_reader_needs_no_suite(folder):
    folder, expected = folder
    text = (ROOT / "GETTING_STARTED.md").read_text(encoding="utf-8")
    script = re.search(r"<!-- file: read_open.py -->\n```python\n(.*?)```", text, re.DOTALL)[1]
    assert "ovs_core" not in script and "torch" not in script
    (folder / "read_open.py").write_text(script)
    line = [sys.executable, "read_open.py", "open.onnx", "other.safetensors", "photo.png"]
    shown = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=True).stdout
    rows = (row.split("%") for row in shown.splitlines())
    found = {name.strip(): float(share) for share, name in rows}
    assert found == pytest.approx({n: c * 100 / (150 * 210) for n, c in expected.items()}, abs=0.1)


@pytest.fixture
def address(folder, tmp_path):
    """The page beside ONNX Runtime's files, served as files and nothing else."""
    if shutil.which("npm") is None:
        pytest.skip("no npm on this machine: apt-get install npm")
    line = ["npm", "pack", "--prefer-offline", "--silent", PACKAGE]
    packed = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    if packed.returncode:
        pytest.skip(f"npm cannot fetch {PACKAGE}: {packed.stderr.strip()[-200:]}")
    with tarfile.open(next(tmp_path.glob("*.tgz"))) as archive:
        for name in SERVED:
            content = archive.extractfile(f"package/dist/{name}")
            (tmp_path / name).write_bytes(content.read())
    shutil.copy(ROOT / "projects" / "ovs_core" / "export" / "open_page.html", tmp_path)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/open_page.html"
        server.shutdown()


def test_the_page_labels_in_a_browser(folder, chromium, address):
    from playwright.sync_api import expect

    folder, expected = folder
    with chromium.new_context() as window:
        page = window.new_page()
        page.goto(address)
        page.click("#run")
        expect(page.locator("#state")).to_have_text("Choose three files.")
        files = {"program": "open.onnx", "words": "other.safetensors", "picture": "photo.png"}
        for name, file in files.items():
            page.set_input_files(f"#{name}", folder / file)
        page.click("#run")
        state = page.locator("#state")
        expect(state).to_have_text(re.compile("^(Done|Failed)"), timeout=PATIENCE)
        assert state.inner_text() == "Done."
        rows = [row.rsplit(": ", 1) for row in page.locator("#shares li").all_inner_texts()]
    assert_near({name: int(count) for name, count in rows}, expected)
