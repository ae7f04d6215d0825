"""Reference vectors of released FC-CLIP, MAFT and MAFT+."""

from pathlib import Path

import pytest

import parity.maftplus  # noqa: F401 - registers the runners
from parity import runner as parity

DATA = Path(__file__).resolve().parent.parent / "data"
METHODS = ("fcclip", "maft", "maftplus", "maftplus_options")
FILES = [(m, p) for m in METHODS for p in sorted((DATA / m).glob("*.npz"))]


@pytest.mark.parametrize(("method", "path"), FILES, ids=[f"{m}-{p.stem}" for m, p in FILES])
def test_reference_file(method, path):
    rows = parity.check_file(method, path)
    assert rows
    assert all(row.passed for row in rows), parity.format_rows([r for r in rows if not r.passed])
