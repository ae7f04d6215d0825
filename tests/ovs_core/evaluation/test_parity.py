"""The reference vectors pass, and would fail if the numbers were others."""

from pathlib import Path

import pytest

from ovs_core.evaluation import confusion
from parity import runner as parity
from parity.core import evaluation as runners  # noqa: F401  registers them

DATA = Path(__file__).parents[2] / "data"
FILES = [
    *(("evaluation", path) for path in sorted((DATA / "evaluation").glob("*.npz"))),
    *(("evaluators", path) for path in sorted((DATA / "evaluators").glob("*.npz"))),
    *((path.stem, path) for path in sorted((DATA / "evaluators" / "metrics").glob("*.npz"))),
]


def test_all_files_are_here():
    assert len(FILES) == 13 + 10 + 2


@pytest.mark.parametrize(("method", "path"), FILES, ids=lambda x: getattr(x, "stem", x))
def test_reference_vectors(method, path):
    rows = parity.check_file(method, path)
    assert rows
    assert [row for row in rows if not row.passed] == []


def test_a_wrong_metric_fails(monkeypatch):
    right = confusion.mean_of_known
    monkeypatch.setattr(confusion, "mean_of_known", lambda x: right(x) + 1e-6)
    rows = parity.check_file("evaluation", DATA / "evaluation" / "semseg_basic.npz")
    assert {"mIoU", "mIoU_union", "mACC"} == {row.name for row in rows if not row.passed}
