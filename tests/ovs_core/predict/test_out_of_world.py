"""A photograph on an embedded CLIP: every result says that its labels mean little."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovs_core import Predictor
from ovs_core.clip.embedded_world import OUT_OF_WORLD
from ovs_core.commands import main
from ovs_core.data.embedded import render_scene
from ovs_core.draw.colors import WARNING
from ovs_core.reports.catalog import best_config
from ovs_core.web.attempts import Asked, Attempt
from ovs_core.web.choices import Choice
from ovs_core.web.viewer import card

PHOTOGRAPH = Path(__file__).parents[2] / "data" / "photographs" / "chelsea.jpg"
METHOD = "cliptrase/tiny_maskclip"
WORDS = "cat, wall, brick"


def has_strip(picture):
    """Whether a warning stands at the foot of a picture."""
    return (np.asarray(picture)[-2, 2:20] == WARNING).all()


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OVSUITE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield Predictor.from_config(METHOD, device="cpu")


def test_result_overlay_record_and_card_say_so(predictor, tmp_path):
    result = predictor(str(PHOTOGRAPH), WORDS)
    assert result.out_of_world == result.notes[-1] == OUT_OF_WORLD
    assert "ovsuite weights get ViT-B-16-quickgelu/openai" in OUT_OF_WORLD
    assert has_strip(result.overlay()) and not has_strip(result.overlay(legend=False))
    result.save(tmp_path)
    record = json.loads((tmp_path / "chelsea_segments.json").read_text())
    assert record["out_of_world"] == OUT_OF_WORLD
    assert "drawn world" in card(
        Asked("", "chelsea.png", WORDS), Attempt(Choice(METHOD, METHOD), result)
    )


def test_of_a_drawn_picture_nothing_is_said(predictor, tmp_path):
    result = predictor(render_scene(31_500_000, (96, 128)).image, WORDS)
    assert result.out_of_world == "" and result.notes == ()
    assert not has_strip(result.overlay())


def test_the_commands_say_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OVSUITE_CACHE", str(tmp_path / "cache"))
    Image.fromarray(render_scene(31_500_001, (96, 128)).image).save("drawn.png")
    line = [str(PHOTOGRAPH), "drawn.png", "--words", WORDS]
    assert main(["segment", *line, "--method", METHOD, "--output", "out"]) == 0
    assert f"1 of 2 pictures: {OUT_OF_WORLD}" in capsys.readouterr().out
    assert main(["compare", *line, "--methods", METHOD, "--output", "sheet"]) == 0
    with Image.open("sheet/sheet.png") as sheet:
        assert has_strip(sheet)


def test_the_best_config_that_is_ready_is_chosen_and_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OVSUITE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("OVS_WEIGHTS", str(tmp_path / "weights"))
    name, why = best_config()
    assert name == "cliptrase/tiny" and "knows drawings only" in why
    Image.fromarray(render_scene(31_500_002, (64, 64)).image).save("drawn.png")
    assert main(["segment", "drawn.png", "--words", WORDS]) == 0
    assert "method  cliptrase/tiny: the embedded CLIP" in capsys.readouterr().err
    assert main(["segment", "drawn.png", "--words", WORDS, "--weights", "a.pth"]) == 1
    assert "--weights needs --method" in capsys.readouterr().err
    place = tmp_path / "weights" / "ViT-B-16-quickgelu" / "openai.pt"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"found, not read")
    name, why = best_config()
    assert name == "cliptrase/vitb16" and "ViT-B-16-quickgelu openai, is here" in why
