"""Weights that come with the suite: used without a word, and as good as their cards say."""

import json

import pytest
from safetensors import safe_open

from ovs_core import Predictor
from ovs_core.commands import main
from ovs_core.data.embedded.scenes import render_scene
from ovs_core.engine.config import load_cfg
from ovs_core.engine.run import run
from ovs_core.methods.configs import find_config, find_model, shipped_weights
from ovs_core.methods.projects import SOURCE_ROOT
from ovs_core.reports.catalog import labels_pixels

FILES = sorted(SOURCE_ROOT.glob("*/weights/**/*.safetensors"))
MOST = 40 * 2**20  # bytes of all together
HALF = 1.0  # points that half precision and another processor may change


def config_of(path):
    project = path.relative_to(SOURCE_ROOT).parts[0]
    return f"{project}/{path.relative_to(SOURCE_ROOT / project / 'weights').with_suffix('')}"


NAMES = [config_of(path) for path in FILES]


def facts_of(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["card"])


def test_they_belong_to_configs_and_are_small():
    assert NAMES
    assert sum(path.stat().st_size for path in FILES) <= MOST
    for path, name in zip(FILES, NAMES, strict=True):
        assert shipped_weights(find_config(name)) == str(path)
        assert facts_of(path)["method"] == name
        card = path.with_suffix(".md").read_text()
        assert "Apache-2.0" in card and str(SOURCE_ROOT) not in card


@pytest.mark.parametrize("name", NAMES)
def test_they_are_taken_where_nothing_is_said_and_never_to_begin_a_training(name):
    assert find_model(name)[1] == shipped_weights(find_config(name))
    assert find_model(name, shipped=False)[1] == ""
    assert load_cfg(find_config(name)).MODEL.WEIGHTS == ""


@pytest.mark.parametrize("name", NAMES)
def test_a_person_with_a_picture_gets_them(name):
    if not labels_pixels(load_cfg(find_config(name))):
        pytest.skip("a detector labels no pixels")
    predictor = Predictor.from_config(name, device="cpu")
    assert not predictor.notes
    scene = render_scene(seed=34, size=(192, 256))  # a brick wall over the sea
    names = {s.name for s in predictor(scene.image, ["brick", "sea", "grass", "snow"]).segments}
    assert {"brick", "sea"} <= names


def test_a_training_begins_from_nothing(tmp_path):
    assert main(["train", NAMES[0], "--device", "cpu", "--output", str(tmp_path / "run"),
                 "SOLVER.MAX_ITER", "1", "SOLVER.IMS_PER_BATCH", "2",
                 "DATASETS.TEST", "()"]) == 0  # fmt: skip
    kept = (tmp_path / "run" / "config.yaml").read_text()
    assert "WEIGHTS: ''" in kept and ".safetensors" not in kept


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_they_give_the_figures_of_their_cards(name, tmp_path):
    path = shipped_weights(find_config(name))
    stated = {
        (one["dataset"], one["task"]): one["figures"] for one in facts_of(path)["evaluations"]
    }
    assert stated
    datasets = repr(tuple(dataset for dataset, _ in stated))
    run(name, ("MODEL.WEIGHTS", path, "MODEL.DEVICE", "cpu", "DATASETS.TEST", datasets,
               "OUTPUT_DIR", str(tmp_path)), eval_only=True)  # fmt: skip
    for (dataset, task), figures in stated.items():
        found = json.loads(
            (tmp_path / "inference" / dataset / f"{task}_evaluation.json").read_text()
        )
        for metric, value in figures.items():
            if value is not None:
                assert found["figures"][metric] == pytest.approx(value, abs=HALF), metric
