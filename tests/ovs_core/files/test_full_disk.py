"""A disk that is full loses nothing, and the message names the place."""

import errno

import numpy as np
import pytest
import torch

from ovs_core.files.writing import (
    atomic_folder,
    atomic_write,
    save_picture,
    save_safetensors,
    save_torch,
)

LARGE = {"weight": torch.arange(2**17, dtype=torch.float32)}
WRITERS = {
    "a.txt": lambda path: atomic_write(path, "x" * 2**19),
    "a.pth": lambda path: save_torch(path, LARGE),
    "a.safetensors": lambda path: save_safetensors(path, LARGE),
    "a.png": lambda path: save_picture(
        np.random.default_rng(0).integers(0, 255, (300, 300, 3), np.uint8), path
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_what_was_there_stays(tmp_path, limit_files, name):
    path = tmp_path / name
    path.write_bytes(b"old")
    limit_files(2**16)
    with pytest.raises(OSError) as caught:
        WRITERS[name](path)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert path.read_bytes() == b"old"
    limit_files(None)
    WRITERS[name](path)
    assert path.stat().st_size > 2**16


def test_a_folder_stays_as_it_was(tmp_path, limit_files):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").write_text("old")
    limit_files(2**16)
    with pytest.raises(OSError), atomic_folder(tmp_path / "a") as part:
        (part / "new").write_bytes(b"x" * 2**17)
    assert [p.name for p in tmp_path.rglob("*")] == ["a", "old"]
