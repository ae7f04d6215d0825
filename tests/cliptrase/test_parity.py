"""Reference vectors of released CLIPtrase, SCLIP, MaskCLIP and CLIP-Surgery."""

from pathlib import Path

import pytest

import parity.cliptrase  # noqa: F401 - registers the runners
import parity.core.evaluation  # noqa: F401 - serves the kind "metrics"
from parity import runner as parity

FILES = sorted((Path(__file__).resolve().parent.parent / "data" / "cliptrase").glob("*.npz"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_reference_file(path):
    rows = parity.check_file("cliptrase", path)
    assert rows
    assert all(row.passed for row in rows), parity.format_rows([r for r in rows if not r.passed])
