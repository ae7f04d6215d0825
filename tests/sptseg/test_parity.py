"""Reference vectors of the published code."""

from pathlib import Path

import pytest

import parity.sptseg  # noqa: F401  registers the runners
from parity.runner import check_file, find_files

DATA = Path(__file__).parents[1] / "data"


@pytest.mark.parametrize(
    "method, path",
    [(m, p) for m in ("sptseg", "zegclip") for p in find_files([DATA / m])],
    ids=lambda value: getattr(value, "stem", value),
)
def test_reference_vectors(method, path):
    rows = check_file(method, path)
    assert rows
    assert [row for row in rows if not row.passed or row.note not in ("", "wholly masked")] == []
