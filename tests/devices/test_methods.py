"""Every method trains, evaluates and segments on a GPU, as far as a CPU can tell.

How often a step or a picture makes the GPU wait is stated in DEVICES.md, and no more than that.
"""

import re
from pathlib import Path

import pytest

from ovs_core import list_methods
from ovs_core.engine.config import load_cfg
from ovs_core.export import export
from ovs_core.methods.configs import find_model

from . import walk
from .claims import KINDS

DOCUMENT = Path(__file__).resolve().parents[2] / "DEVICES.md"
_ROW = re.compile(r"^\| `(?P<config>\w+/[\w/]+)` \|(?P<cells>.*)\|$", re.M)
COLUMNS = ("step", "evaluated", "segmented")


def stated():
    """Config -> column -> how often something waits, None for what is not run."""
    rows = {}
    (waits,) = re.findall(r"^## Waits\n(.*?)^## ", DOCUMENT.read_text("utf-8"), re.M | re.S)
    for row in _ROW.finditer(waits):
        cells = [cell.strip() for cell in row["cells"].split("|")]
        values = [int(cell) if cell.isdigit() else None for cell in cells]
        rows[row["config"]] = dict(zip(COLUMNS, values, strict=True))
    return rows


def assert_stated(config, column, waits):
    """Fail with the lines that wait, if they do it more often than stated, or far less."""
    limit = stated()[config][column]
    places = "\n".join(f"  {kind} {n} x {at}" for (kind, at), n in waits.places.items())
    message = f"{config}, {column}: {waits.total} waits, {limit} stated in DEVICES.md\n{places}"
    assert limit is not None and waits.total <= limit <= 2 * waits.total + 3, message
    assert set(waits.kinds) <= set(KINDS)


def test_every_kind_of_model_is_stated():
    assert list(stated()) == walk.KINDS
    trained = [config for config, row in stated().items() if row["step"] is not None]
    assert trained == list(walk.SMALL)
    assert {name.split("/")[0] for name in walk.KINDS} == set(list_methods())


@pytest.mark.parametrize("config", walk.SMALL)
def test_a_step_of_a_training(config, gpu, tmp_path):
    assert_stated(config, "step", walk.train(config, gpu, tmp_path))


@pytest.mark.parametrize("config", walk.KINDS)
def test_a_picture_on_the_page_and_of_an_evaluation(config, gpu, tmp_path):
    segmented, evaluated = walk.show(config, gpu, tmp_path)
    for column, waits in (("segmented", segmented), ("evaluated", evaluated)):
        if waits is None:
            assert stated()[config][column] is None
        else:
            assert_stated(config, column, waits)


def test_the_file_of_a_part_that_runs_alone(gpu, tmp_path):
    config, weights = find_model("clipteacher/tiny")
    cfg = load_cfg(config, [*walk.GPU, "MODEL.WEIGHTS", weights])
    file = tmp_path / "student.pth"
    assert export(cfg, "car, sky, grass", file, size=(64, 96)).passed
    assert b"cuda" not in file.read_bytes()  # loads where there is no GPU
