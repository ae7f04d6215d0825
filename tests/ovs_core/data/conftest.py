"""A root of datasets for each test."""

import pytest


@pytest.fixture
def root(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(folder))
    monkeypatch.delenv("OVS_DATASETS_LAYOUT", raising=False)
    return folder
