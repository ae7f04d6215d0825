"""Training and measuring rows by one runner, with a stand-in for training and evaluation."""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ovs_core.commands import main
from ovs_core.engine import train_once as training
from ovs_core.engine.config import load_cfg
from ovs_core.errors import UserError
from ovs_core.evaluation.results import versions
from ovs_core.methods.configs import find_config
from ovs_core.reports import comparison
from ovs_core.reports.comparison import Outcome, format_table, run_table, show_result
from ovs_core.reports.table_facts import config_digest
from ovs_core.reports.tables import Row, Table

FROZEN = Row("frozen", "cliptrase/tiny")
TABLE = Table(
    "a table", (FROZEN, Row("SPT", "sptseg/tiny", ("SOLVER.MAX_ITER", "9"), trained=True))
)


@pytest.fixture
def runs(monkeypatch):
    """Record trainings and evaluations; a run's mIoU is its seed, or -1 without training."""
    trained, measured = [], []

    def train(config, options, *, resume):
        cfg = load_cfg(config, options)
        folder = Path(cfg.OUTPUT_DIR)
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(cfg.dump())
        (folder / "model_final.pth").write_text(str(cfg.SEED))
        trained.append((folder.name, cfg.SOLVER.MAX_ITER, cfg.SEED))
        return {}

    def evaluate(config, options, *, eval_only):
        cfg = load_cfg(config, options)
        measured.append(cfg)
        weights = cfg.MODEL.WEIGHTS
        return {"sem_seg": {"mIoU": float(Path(weights).read_text()) if weights else -1.0}}

    monkeypatch.setattr(training, "run", train)
    monkeypatch.setattr(comparison, "run", evaluate)
    monkeypatch.setattr(comparison, "picture_sheet", lambda *_: np.zeros((4, 4, 3), np.uint8))
    return argparse.Namespace(trained=trained, measured=measured)


def cells(markdown):
    return [[c.strip() for c in line.split("|")[1:-1]] for line in markdown.splitlines()]


def test_trained_rows_are_trained_once_and_averaged_over_seeds(runs, tmp_path):
    result = run_table(TABLE, tmp_path, seeds=(2, 4), options=["SOLVER.BASE_LR", "0.5"])
    assert runs.trained == [("spt__seed_2", 9, 2), ("spt__seed_4", 9, 4)]
    assert cells(result.markdown)[2:] == [["frozen", "-1.00"], ["SPT", "3.00 ± 1.41"]]
    assert {p.name for p in result.files.values()} == {"table.md", "table.json", "sheet.png"}
    assert all(p.is_file() for p in result.files.values()) and not result.missing
    run_table(TABLE, tmp_path, seeds=(2, 4), options=["SOLVER.BASE_LR", "0.5"])
    assert len(runs.trained) == 2


def test_options_reach_every_training_and_evaluation(runs, tmp_path):
    run_table(TABLE, tmp_path, options=["MODEL.OVS.TEMPLATES", "['a {}']"])
    kept = load_cfg(tmp_path / "train" / "spt" / "config.yaml")
    assert [cfg.MODEL.OVS.TEMPLATES for cfg in (kept, *runs.measured)] == [["a {}"]] * 3


def test_without_seeds_the_config_decides(runs, tmp_path):
    result = run_table(TABLE, tmp_path)
    assert runs.trained == [("spt", 9, 1)]
    assert "±" not in result.markdown


def test_a_finished_training_with_other_settings_does_not_pass_for_this_one(runs, tmp_path):
    run_table(TABLE, tmp_path)
    result = run_table(TABLE, tmp_path, options=["SOLVER.BASE_LR", "0.5"])
    assert result.missing == 1
    assert "SOLVER.BASE_LR" in result.outcomes[1].not_run and "not 0.5" in result.markdown


def test_a_row_that_cannot_run_is_listed_and_the_others_run(runs, tmp_path, monkeypatch, capsys):
    def evaluate(config, options, *, eval_only):
        if "sptseg" in config:
            raise UserError("no such data")
        return {"sem_seg": {"mIoU": 12.0}}

    monkeypatch.setattr(comparison, "run", evaluate)
    rows = (Row("SPT", "sptseg/tiny"), Row("frozen", "cliptrase/tiny", published={"mIoU": 16.35}))
    table = Table("a table", rows, caption="Here", note="Note.")
    result = run_table(table, tmp_path, samples=0)
    assert cells(result.markdown)[2:] == [
        ["SPT", "not run: no such data"],
        ["frozen", "12.00 (16.35)"],
    ]
    assert json.loads(result.files["json"].read_text())[0]["not_run"] == "no such data"
    show_result(table, result)
    shown = capsys.readouterr().out
    assert (
        shown.startswith("SPT: not run\nfrozen: mIoU 12.00 (16.35)\n\nHere:\n\n| method")
        and "\n\nNote.\n\ntable     " in shown
    )
    assert "pictures" not in shown


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([FROZEN, Row("frozen", "sptseg/tiny")], "'frozen' stands for two rows"),
        ([FROZEN, Row("other", "cliptrase/tinny")], "no config named 'cliptrase/tinny'"),
        ([Row("a", "cliptrase/tiny", ("MODEL.NO", "1"))], "unknown key 'MODEL.NO'"),
        ([Row("a", "cliptrase/tiny", ("DATASETS.TEST", "()"))], "a row is measured on one dataset"),
        (
            [FROZEN, Row("a", "sptseg/tiny", ("DATASETS.TEST", "('voc_20_val',)"))],
            r"different datasets \(embedded_sem_seg_val, voc_20_val\)",
        ),
    ],
)
def test_mistakes_show_before_anything_is_run(runs, tmp_path, rows, message):
    with pytest.raises(UserError, match=message):
        run_table(Table("a table", tuple(rows)), tmp_path)
    assert not runs.trained and not runs.measured


def test_a_table_without_pictures_may_mix_datasets(runs, tmp_path):
    rows = (FROZEN, Row("a", "sptseg/tiny", ("DATASETS.TEST", "('voc_20_val',)")))
    assert "pictures" not in run_table(Table("a table", rows, pictures=False), tmp_path).files


def test_a_table_leaves_out_what_nothing_measured():
    outcomes = [
        Outcome("a", runs=[{"mIoU": 10.0}]),
        Outcome("b", runs=[{"mIoU": 2.0, "hIoU": 5.0}]),
    ]
    table = format_table(outcomes)
    assert "pACC" not in table and "hIoU" in table and "2.00" in table


def test_columns_can_be_chosen():
    table = format_table(
        [Outcome("a", runs=[{"mIoU": 1.0, "PQ": 3.0, "hIoU": 1.0}])], ("PQ", "AP", "mIoU")
    )
    assert cells(table)[0] == ["method", "PQ", "mIoU"]


def test_the_command_chooses_rows_by_group(runs, tmp_path, capsys):
    line = ["tables", "clipteacher/tiny", "--output", str(tmp_path), "--samples", "0"]
    assert main([*line, "--only", "4", "--seeds", "5", "SOLVER.MAX_ITER", "3"]) == 0
    names = [name for name, *_ in runs.trained]
    assert names == ["glm__max__seed_5", "glm__mean__seed_5", "clipteacher__seed_5"]
    assert {steps for _, steps, _ in runs.trained} == {3}
    assert "frozen CLIP" in capsys.readouterr().out
    assert main([*line, "--tables", "6"]) == 1  # as a script spelled it
    assert "'6' is unknown" in capsys.readouterr().err
    assert main([*line, "--seeds", "one"]) == 2
    assert "is no list of numbers such as 0,1,2" in capsys.readouterr().err


def test_the_written_table_says_how_it_was_made(runs, tmp_path):
    result = run_table(replace(TABLE, caption="Here", note="Note."), tmp_path, seeds=(2, 4))
    text = result.files["table"].read_text()
    assert text.startswith("Here:\n\n| method") and "\n\nNote.\n\nHow it was measured" in text
    made = [row["made"] for row in json.loads(result.files["json"].read_text())]
    assert [one["seeds"] for one in made] == [[0], [2, 4]]
    assert [one["config"] for one in made] == ["cliptrase/tiny", "sptseg/tiny"]
    assert all(f"| {one['digest']} " in text for one in made)
    assert f"torch {versions()['torch']}" in text


def test_a_digest_tells_configs_apart_but_not_places():
    path = find_config("cliptrase/tiny")
    plain = config_digest(load_cfg(path, []))
    places = ["OUTPUT_DIR", "x", "SEED", "5", "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "x.pth"]
    assert config_digest(load_cfg(path, places)) == plain
    assert config_digest(load_cfg(path, ["MODEL.CLIPTRASE.CLUSTER.EPS", "0.93"])) != plain
