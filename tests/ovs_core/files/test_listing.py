"""Which files a folder holds for us."""

import os

import pytest
from PIL import Image

from ovs_core.errors import UserError
from ovs_core.files.listing import iter_files
from ovs_core.files.pictures import load_picture
from ovs_core.predict.reading import find_files


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "B.PNG", "._a.png", "a.txt"):
        Image.new("RGB", (2, 2)).save(tmp_path / name, "PNG")
    (tmp_path / "dir.png").mkdir()
    os.symlink("nowhere.png", tmp_path / "gone.png")
    os.symlink("loop.png", tmp_path / "loop.png")
    os.symlink("a.png", tmp_path / "link.png")
    os.mkfifo(tmp_path / "pipe.png")
    return tmp_path


def test_links_that_lead_nowhere_are_listed_and_pipes_are_not(folder):
    found = sorted(os.path.basename(path) for path in iter_files(folder, (".png",)))
    assert found == ["B.PNG", "a.png", "gone.png", "link.png", "loop.png"]
    assert [path.name for path in find_files([folder])] == found
    for name in ("gone.png", "loop.png"):
        with pytest.raises(UserError, match=f"{name}: no such picture"):
            load_picture(folder / name)


def test_a_name_that_is_too_long_is_one_line():
    with pytest.raises(UserError, match="x: no such picture, video or folder"):
        find_files(["x" * 5000])
