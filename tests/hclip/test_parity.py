"""Reference vectors of released H-CLIP and CAT-Seg."""

from pathlib import Path

import pytest

import parity.hclip  # noqa: F401 - registers the runners
from parity import runner as parity

DATA = Path(__file__).resolve().parent.parent / "data"
FILES = [(m, p) for m in ("hclip", "catseg") for p in sorted((DATA / m).glob("*.npz"))]
CASES = [
    pytest.param(m, p, id=f"{m}-{p.stem}", marks=pytest.mark.slow if "fullsize" in p.stem else ())
    for m, p in FILES
]


@pytest.mark.parametrize(("method", "path"), CASES)
def test_reference_file(method, path):
    rows = parity.check_file(method, path)
    assert rows
    assert all(row.passed for row in rows), parity.format_rows([r for r in rows if not r.passed])
