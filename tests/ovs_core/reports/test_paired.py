"""The paired table of two groups of trainings, seed by seed."""

import json

import pytest
import yaml

from ovs_core.commands import main
from ovs_core.errors import UserError
from ovs_core.reports.paired import format_differences, pair_runs, read_run

RULE = "mean over classes"


def write_run(folder, seed, figures, *, rate=0.1, rule=RULE, dataset="voc"):
    """What a training leaves that is compared."""
    results = folder / "inference" / dataset
    results.mkdir(parents=True)
    config = {"SEED": seed, "OUTPUT_DIR": str(folder), "SOLVER": {"BASE_LR": rate}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    content = {"task": "sem_seg", "dataset": dataset, "rule": rule, "figures": figures}
    (results / "sem_seg_evaluation.json").write_text(json.dumps(content))
    return folder


def group(tmp_path, name, values, **options):
    return [
        write_run(tmp_path / f"{name}_{seed}", seed, {"mIoU": value, "hIoU": None}, **options)
        for seed, value in enumerate(values)
    ]


def compared(first, second):
    return pair_runs([read_run(f) for f in first], [read_run(f) for f in second])


def test_mean_interval_and_p_value(tmp_path):
    """By the table of Student's t: 4.3027 for two degrees of freedom, and 95 %."""
    first = group(tmp_path, "a", [50, 60, 40])
    second = group(tmp_path, "b", [51, 62, 43], rate=0.2)
    (one,) = compared(first, second[::-1])  # paired by seed, not by place
    assert one.metric == "mIoU" and one.mean == pytest.approx(2)
    assert one.half_width == pytest.approx(4.3027 / 3**0.5, rel=1e-4)
    assert one.p == pytest.approx(0.0742, abs=1e-4)


def test_figures_that_know_the_truth_are_marked(tmp_path):
    first, second = group(tmp_path, "a", [50]), group(tmp_path, "b", [53])
    assert "oracle" not in format_differences(compared(first, second), ("a", "b"))
    file = second[0] / "inference/voc/sem_seg_evaluation.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"oracle": ["why"]}))
    assert "sem_seg/mIoU (oracle)" in format_differences(compared(first, second), ("a", "b"))


def test_one_pair_has_no_interval(tmp_path):
    (one,) = compared(group(tmp_path, "a", [50]), group(tmp_path, "b", [53]))
    assert (one.mean, one.half_width, one.p) == (3, None, None)


def test_equal_differences_have_no_p_value(tmp_path):
    (one,) = compared(group(tmp_path, "a", [50, 60]), group(tmp_path, "b", [51, 61]))
    assert (one.half_width, one.p) == (0, None)


def test_the_command(tmp_path, capsys):
    first = group(tmp_path, "a", [50, 60, 40])
    second = group(tmp_path, "b", [51, 62, 43], rate=0.2)
    folder = tmp_path / "table"
    line = ["compare-runs", *map(str, first), "--with", *map(str, second), "--output", str(folder)]
    assert main(line) == 0
    shown = capsys.readouterr().out
    assert "  SOLVER.BASE_LR: 0.1, 0.2\n" in shown
    assert "| voc       | sem_seg/mIoU | 50.00 ± 10.00 | 52.00 ± 9.54 | +2.00 ± 2.48" in shown
    assert "sem_seg/mIoU" in (folder / "paired.md").read_text()
    (kept,) = json.loads((folder / "paired.json").read_text())
    assert kept["seeds"] == [0, 1, 2] and kept["second"] == [51, 62, 43]


def test_what_cannot_be_paired(tmp_path):
    first = group(tmp_path, "a", [50, 60])
    with pytest.raises(UserError, match="seed 1 has a run in one group only"):
        compared(first, group(tmp_path, "b", [51]))
    with pytest.raises(UserError, match="has SEED 0, as"):
        compared([first[0], first[0]], first)
    other = write_run(tmp_path / "c", 1, {"mIoU": 1}, rate=0.3)
    with pytest.raises(UserError, match=r"c: has SOLVER\.BASE_LR 0\.3, not 0\.1"):
        compared([first[0], other], first)
    with pytest.raises(UserError, match="no figure in common"):
        compared(first, group(tmp_path, "d", [1, 2], dataset="ade"))
    with pytest.raises(UserError, match="measured by another rule"):
        compared(first, group(tmp_path, "e", [1, 2], rule="sum"))


def test_folders_that_are_no_finished_training(tmp_path):
    with pytest.raises(UserError, match=r"config\.yaml"):
        read_run(tmp_path)
    folder = write_run(tmp_path / "a", 0, {"mIoU": 1})
    file = folder / "inference" / "voc" / "sem_seg_evaluation.json"
    file.write_text("[]")
    with pytest.raises(UserError, match="is no evaluation of this suite"):
        read_run(folder)
    file.unlink()
    with pytest.raises(UserError, match="no evaluation of it is there"):
        read_run(folder)
