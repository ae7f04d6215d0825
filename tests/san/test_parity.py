"""Reference vectors of released SAN."""

from pathlib import Path

import pytest

import parity.san  # noqa: F401 - registers the runners
from parity import runner as parity

DATA = Path(__file__).resolve().parent.parent / "data" / "san"
CASES = [
    pytest.param(p, id=p.stem, marks=pytest.mark.slow if "fullsize" in p.stem else ())
    for p in sorted(DATA.glob("*.npz"))
]


@pytest.mark.parametrize("path", CASES)
def test_reference_file(path):
    rows = parity.check_file("san", path)
    assert rows
    assert all(row.passed for row in rows), parity.format_rows([r for r in rows if not r.passed])
