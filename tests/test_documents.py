"""The snippets of the documents run, and the commands that they name exist."""

import re
import sys
import types
from pathlib import Path

import pytest
import torch

from ovs_core.clip import load_clip

ROOT = Path(__file__).resolve().parent.parent


def blocks(document, language):
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_method_of_the_readme_segments(tmp_path, monkeypatch):
    monkeypatch.setenv("OVSUITE_CACHE", str(tmp_path))
    (source,) = [b for b in blocks("README.md", "python") if "class MyMethod" in b]
    module = types.ModuleType("readme_method")
    sys.modules["readme_method"] = module
    exec(compile(source, "README.md", "exec"), module.__dict__)
    model = module.MyMethod(clip=load_clip("embedded-vit", "random"), templates=["a {}"]).eval()
    model.set_vocabulary("car, sky")
    (output,) = model([{"image": torch.zeros(3, 40, 56), "height": 80, "width": 112}])
    assert output["sem_seg_labels"].shape == (80, 112)


@pytest.mark.parametrize("document", ["README.md", "INSTALL.md"])
def test_named_files_exist(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    linked = re.findall(r"\]\((?!https?://|#)([^)#]+)", text)
    named = re.findall(r"python ((?:tools/)?[\w/]+\.py)", text)
    assert linked or named
    missing = [name for name in [*linked, *named] if not (ROOT / name).exists()]
    assert not missing
