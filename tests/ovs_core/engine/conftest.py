"""A small method and a small world for tests of the engine."""

import importlib.util
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

TOY = Path(__file__).with_name("toy.py")


def load_toy():
    """Import the toy once: registering its meta-architecture twice is an error."""
    if "ovs_toy" not in sys.modules:
        spec = importlib.util.spec_from_file_location("ovs_toy", TOY)
        sys.modules["ovs_toy"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules["ovs_toy"])
    return sys.modules["ovs_toy"]


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Folder of ``toy.yaml``, whose runs write to ``tmp_path / "run"``."""
    monkeypatch.setenv("OVSUITE_CACHE", str(tmp_path / "cache"))
    toy = load_toy()
    folder = tmp_path / "world"
    toy.write_world(folder)
    toy.register_world(folder)
    toy.write_config(folder, tmp_path / "run")
    return folder


@pytest.fixture
def forking(monkeypatch):
    """Let Detectron2's launcher fork its processes, which are quick and know the toy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the threads of this process are not in a fork of it
    monkeypatch.setattr(mp, "start_processes", partial(mp.start_processes, start_method="fork"))
    yield
    torch.set_num_threads(threads)
