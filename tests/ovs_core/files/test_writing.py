import os
import stat

import pytest

from ovs_core.errors import UserError
from ovs_core.files.writing import atomic_path, atomic_write, check_output_dir


def test_text_and_bytes(tmp_path):
    atomic_write(tmp_path / "new" / "a.txt", "grün")
    atomic_write(tmp_path / "b.bin", b"\x00\x01")
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "grün"
    assert (tmp_path / "b.bin").read_bytes() == b"\x00\x01"


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    atomic_write(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError, match="stop"), atomic_path(tmp_path / "a.txt") as part:
        part.write_text("half")
        raise RuntimeError("stop")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_the_new_name_appears_with_its_whole_content(tmp_path):
    with atomic_path(tmp_path / "a.json") as part:
        part.write_text("1")
        assert part.suffix == ".json" and part.parent == tmp_path
        assert not (tmp_path / "a.json").exists()
    assert (tmp_path / "a.json").read_text() == "1"


def test_others_may_read_the_file(tmp_path):
    old = os.umask(0o022)
    try:
        atomic_write(tmp_path / "a.txt", "x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o644


def test_output_folder_is_made(tmp_path):
    assert check_output_dir(tmp_path / "a" / "b").is_dir()
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_output_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file.*cannot write into this folder"):
        check_output_dir(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_folder_without_permission(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(UserError, match="locked.*cannot write into this folder"):
        check_output_dir(folder)
