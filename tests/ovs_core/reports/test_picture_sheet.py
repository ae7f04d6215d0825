"""The sheet of a table, with the engine's toy method on its own pictures."""

import importlib.util
import sys
from pathlib import Path

import pytest

from ovs_core.engine.config import load_cfg
from ovs_core.reports.picture_sheet import picture_sheet

TOY = Path(__file__).parents[1] / "engine" / "toy.py"


@pytest.fixture
def config(tmp_path):
    """The toy is imported once: registering its meta-architecture twice is an error."""
    if "ovs_toy" not in sys.modules:
        spec = importlib.util.spec_from_file_location("ovs_toy", TOY)
        sys.modules["ovs_toy"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["ovs_toy"])
    toy = sys.modules["ovs_toy"]
    toy.write_world(tmp_path / "world", 3)
    toy.register_world(tmp_path / "world")
    return load_cfg(toy.write_config(tmp_path / "world", tmp_path / "run"))


def test_a_row_per_picture_and_a_column_per_method(config):
    one = picture_sheet([("first", config)], 2)
    two = picture_sheet([("first", config), ("second", config)], 2)
    assert two.shape[1] > one.shape[1] and one.dtype == "uint8"
    assert picture_sheet([("first", config)], 3).shape[0] > one.shape[0]


def test_methods_that_label_no_pixels_get_no_column(config, monkeypatch):
    monkeypatch.setattr(sys.modules["ovs_toy"].Toy, "answers", ("instance",))
    assert picture_sheet([("first", config)], 2) is None
