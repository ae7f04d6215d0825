"""Reference vectors of an independent reading and of mmsegmentation and open_clip."""

from pathlib import Path

import pytest

import parity.clipteacher.parts  # noqa: F401  registers the runners
from parity.runner import check_file, find_files

DATA = Path(__file__).parents[1] / "data" / "clipteacher"


@pytest.mark.parametrize("path", find_files([DATA]), ids=lambda path: path.stem)
def test_reference_vectors(path):
    rows = check_file("clipteacher", path)
    assert rows
    assert [row for row in rows if not row.passed or row.note] == []
