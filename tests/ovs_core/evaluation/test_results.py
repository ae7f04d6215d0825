import csv
import datetime
import io
import json

import numpy as np
import pytest

from ovs_core.evaluation.results import Report, versions

REPORT = Report(
    key="sem_seg",
    dataset="toy",
    rule="mean|of all",
    figures={"mIoU": 12.345, "hIoU": float("nan")},
    classes={"class": ["a", "grün, b"], "IoU": np.array([24.69, np.nan])},
    pictures=3,
    config="tiny.yaml",
    notes=["one note"],
)


def test_table_shows_everything():
    text = REPORT.table()
    for part in ("toy", "3 pictures", "12.35", "grün, b", "24.69", "nan", "one note"):
        assert part in text


def test_json_is_strict_and_complete():
    content = json.loads(REPORT.json(), parse_constant=lambda name: 1 / 0)
    assert content["figures"] == {"mIoU": 12.345, "hIoU": None}
    assert content["classes"]["IoU"] == [24.69, None]
    assert content["versions"] == versions() and content["versions"]["torch"]
    assert content["date"] == datetime.datetime.now(datetime.timezone.utc).date().isoformat()


def test_csv_can_be_read_back():
    rows = list(csv.DictReader(io.StringIO(REPORT.csv())))
    assert rows[0]["metric"] == "mIoU" and float(rows[0]["value"]) == 12.345
    assert rows[3]["class"] == "grün, b" and rows[3]["metric"] == "IoU"


def test_markdown_row():
    head, line, row = REPORT.markdown().splitlines()
    assert head.count("|") == line.count("|") == row.replace("\\|", "").count("|")
    for part in ("tiny.yaml", "toy", "12.35", "mean\\|of all", "torch", "20"):
        assert part in row


def test_files(tmp_path):
    REPORT.publish(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "sem_seg_evaluation.csv",
        "sem_seg_evaluation.json",
        "sem_seg_evaluation.md",
    ]


def test_a_full_disk_costs_no_results(tmp_path, limit_files):
    REPORT.publish(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    limit_files(50)
    with pytest.raises(OSError) as caught:
        REPORT.publish(tmp_path)
    limit_files(None)
    assert str(caught.value.filename).startswith(str(tmp_path / "sem_seg_evaluation."))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    REPORT.publish(tmp_path)
