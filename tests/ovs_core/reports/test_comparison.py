"""Training and comparing through one call, with a stand-in for training and evaluation."""

import argparse
from pathlib import Path

import numpy as np
import pytest

from ovs_core.engine import train_once as training
from ovs_core.engine.config import load_cfg
from ovs_core.errors import UserError
from ovs_core.reports import comparison
from ovs_core.reports.comparison import Entry, comparison_parser, format_table, train_and_compare

ENTRIES = (Entry("frozen", "cliptrase/tiny"), Entry("SPT", "sptseg/tiny", ("SOLVER.MAX_ITER", "9"),
           trained=True))  # fmt: skip


@pytest.fixture
def trainings(monkeypatch, tmp_path):
    """Record trainings; a run's mIoU is its seed, or -1 without training."""
    calls = []

    def run(config, options, *, resume):
        cfg = load_cfg(config, options)
        folder = Path(cfg.OUTPUT_DIR)
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(cfg.dump())
        (folder / "model_final.pth").write_text(str(cfg.SEED))
        calls.append((folder.name, cfg.SOLVER.MAX_ITER, cfg.SEED))
        return {}

    def evaluate(entry, output):
        settings = dict(zip(entry.options[::2], entry.options[1::2], strict=True))
        file = settings.get("MODEL.WEIGHTS")
        return {"mIoU": float(Path(file).read_text()) if file else -1.0}

    monkeypatch.setattr(training, "run", run)
    monkeypatch.setattr(comparison, "_evaluate", evaluate)
    monkeypatch.setattr(comparison, "picture_sheet", lambda *_: np.zeros((4, 4, 3), np.uint8))
    return calls


def test_trained_entries_are_trained_once_and_averaged_over_seeds(trainings, tmp_path):
    table = train_and_compare(ENTRIES, tmp_path, seeds=(2, 4), options=["SOLVER.BASE_LR", "0.5"])
    assert trainings == [("spt__seed_2", 9, 2), ("spt__seed_4", 9, 4)]
    cells = [[c.strip() for c in line.split("|")[1:3]] for line in table.splitlines()]
    assert cells[2:] == [["frozen", "-1.00"], ["SPT", "3.00 ± 1.41"]]
    train_and_compare(ENTRIES, tmp_path, seeds=(2, 4), options=["SOLVER.BASE_LR", "0.5"])
    assert len(trainings) == 2
    assert (tmp_path / "sheet.png").is_file() and (tmp_path / "table.md").is_file()


def test_without_seeds_the_config_decides(trainings, tmp_path):
    table = train_and_compare(ENTRIES, tmp_path)
    assert trainings == [("spt", 9, 1)]
    assert "±" not in table


def test_a_finished_training_with_other_settings_does_not_pass_for_this_one(trainings, tmp_path):
    train_and_compare(ENTRIES, tmp_path)
    with pytest.raises(UserError, match="SOLVER.BASE_LR .*, not 0.5"):
        train_and_compare(ENTRIES, tmp_path, options=["SOLVER.BASE_LR", "0.5"])


def test_a_table_leaves_out_what_nothing_measured():
    table = format_table({"a": [{"mIoU": 10.0}], "b": [{"mIoU": 20.0, "hIoU": 5.0}]})
    assert "pACC" not in table and "hIoU" in table and "20.00" in table


def test_columns_can_be_chosen():
    table = format_table({"a": [{"mIoU": 10.0, "PQ": 30.0, "hIoU": 1.0}]}, ("PQ", "AP", "mIoU"))
    assert [c.strip() for c in table.splitlines()[0].split("|")] == ["", "method", "PQ", "mIoU", ""]


def test_seeds_are_numbers():
    parser = comparison_parser("text", "output/here")
    assert parser.parse_args(["--seeds", "0,1"]).seeds == (0, 1)
    with pytest.raises((SystemExit, argparse.ArgumentTypeError)):
        parser.parse_args(["--seeds", "one"])
