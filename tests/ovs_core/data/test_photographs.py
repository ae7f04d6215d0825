"""A dataset of a true photograph goes every way that drawn ones go."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from ovs_core.commands import main
from ovs_core.files.pictures import load_picture
from ovs_core.web.attempts import Asked
from ovs_core.web.choices import Choice
from ovs_core.web.room import ModelRoom
from ovs_core.web.viewer import card
from ovs_core.words.vocabulary import Vocabulary

PHOTOGRAPHS = Path(__file__).parents[2] / "data" / "photographs"
NAMES = ("tote", "baby wipes", "scissors", "socks", "ice cube tray", "soap", "joke book",
         "measuring spoons", "mouse traps")  # fmt: skip
METHOD = "cliptrase/tiny_maskclip"


@pytest.fixture
def user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OVSUITE_CACHE", str(tmp_path / "cache"))
    for name, kind in (("tote.jpg", "images"), ("tote_labels.png", "labels")):
        place = tmp_path / "photographs" / kind / f"tote{Path(name).suffix}"
        place.parent.mkdir(parents=True)
        shutil.copy(PHOTOGRAPHS / name, place)
    stanza = {"images": "photographs/images", "labels": "photographs/labels", "names": [*NAMES]}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"totes_val": stanza}))
    return tmp_path


def test_data_metric_export_and_page(user, capsys):
    assert main(["check-dataset", "--yaml", "own.yaml", "--json", "report.json"]) == 0
    (report,) = json.loads(Path("report.json").read_text())
    assert report["good"] and report["classes"]["scissors"] == 551
    pairs = ["DATASETS.YAML", "('own.yaml',)", "DATASETS.TEST", "('totes_val',)"]
    line = ["evaluate", METHOD, "--device", "cpu", "--output", "run", *pairs]
    assert main(line) == 0
    assert "mIoU" in capsys.readouterr().out
    names = ", ".join(NAMES)
    line = ["export", METHOD, "--words", names, "--size", "120x160", "--output", "tote.pt2"]
    assert main([*line, "--pictures", "photographs/images"]) == 0
    room = ModelRoom([Choice(METHOD, METHOD)], device="cpu")
    picture = load_picture("photographs/images/tote.jpg")
    attempt = room.segment(room.choices[METHOD], picture, Vocabulary.parse(names))
    assert attempt.result.labels.shape == (240, 320)
    assert set(np.unique(attempt.result.labels)) <= set(range(len(NAMES)))
    assert "drawn world" in card(Asked("", "tote.jpg", names), attempt)
