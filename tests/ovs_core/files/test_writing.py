import json
import os
import stat
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ovs_core.errors import UserError
from ovs_core.files.writing import (
    atomic_folder,
    atomic_path,
    atomic_write,
    check_output_dir,
    remove_unfinished,
    save_picture,
    write_json,
)


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


def test_threads_that_write_at_once_leave_the_permissions_of_new_files_alone(tmp_path):
    def write(number):
        for turn in range(100):
            atomic_write(tmp_path / f"{number}_{turn}.txt", "x")

    old, usual = os.umask(0o022), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(8)))
    finally:
        sys.setswitchinterval(usual)
        left = os.umask(old)
    assert left == 0o022
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o644}


def test_others_may_read_what_a_library_wrote_for_its_user_alone(tmp_path):
    old = os.umask(0o022)
    try:
        with atomic_path(tmp_path / "a.safetensors") as part:
            save_file({"a": torch.zeros(2)}, part)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a.safetensors").stat().st_mode) == 0o644


def test_json_is_written_for_people_or_for_programs(tmp_path):
    write_json(tmp_path / "a.json", {"name": "grün", "list": [1, 2]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text == '{\n  "name": "grün",\n  "list": [\n    1,\n    2\n  ]\n}\n'
    write_json(tmp_path / "a.json", {"list": [1, 2]}, compact=True)
    assert (tmp_path / "a.json").read_text() == '{"list": [1, 2]}\n'
    figures = {"mIoU": float("nan"), "IoU": np.array([0.5, np.inf]), "count": np.int64(3)}
    write_json(tmp_path / "a.json", figures, compact=True)
    assert (tmp_path / "a.json").read_text() == '{"mIoU": null, "IoU": [0.5, null], "count": 3}\n'


def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path):
    folder, left_over = tmp_path / "set", tmp_path / ".set.part"
    for path in (folder, left_over):
        path.mkdir()
        (path / "old.txt").write_text("old")
    with pytest.raises(RuntimeError, match="stop"), atomic_folder(folder) as part:
        raise RuntimeError("stop")
    assert [p.name for p in folder.iterdir()] == ["old.txt"]
    with atomic_folder(folder) as part:
        assert list(part.iterdir()) == []
        (part / "new.txt").write_text("new")
    assert [p.name for p in folder.iterdir()] == ["new.txt"]
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_halves_of_files_are_removed_and_a_person_s_files_are_not(tmp_path):
    with atomic_path(tmp_path / "a.png") as part:
        (tmp_path / part.name).touch()
        left = part.name
    mine = [".a.part", ".mine.part", ".my.notes.part.txt", "0123456789ab.part.png", "a.part"]
    halves = [left, ".0123456789ab.part", ".a.b.0123456789ab.part.png", ".a.x1.part.pth"]
    for name in (*mine, *halves):
        (tmp_path / name).touch()
    (tmp_path / ".set.part").mkdir()
    remove_unfinished(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {*mine, ".set.part", "a.png"}
    remove_unfinished(tmp_path / "none")


def test_a_name_that_fits_the_disk_can_be_written(tmp_path):
    atomic_write(tmp_path / f"{'n' * 250}.json", "x")
    assert (tmp_path / f"{'n' * 250}.json").read_text() == "x"


def test_json_takes_names_that_are_no_text(tmp_path):
    name = os.fsdecode(b"\xff.png")
    write_json(tmp_path / "a.json", {"picture": name})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"picture": name}


def test_a_picture_may_name_its_maker(tmp_path):
    picture = np.zeros((2, 3, 3), np.uint8)
    save_picture(picture, tmp_path / "a.png", software="me")
    save_picture(picture, tmp_path / "b.png")
    assert Image.open(tmp_path / "a.png").info["Software"] == "me"
    assert "Software" not in Image.open(tmp_path / "b.png").info


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_label_maps_are_stored_as_they_are(tmp_path, kind):
    labels = np.arange(12, dtype=kind).reshape(3, 4) * 20
    path = save_picture(labels, tmp_path / "new" / "a.png")
    assert np.array_equal(np.asarray(Image.open(path)), labels)


def test_output_folder_is_made(tmp_path):
    assert check_output_dir(tmp_path / "a" / "b").is_dir()
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_output_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file.*cannot write into this folder"):
        check_output_dir(tmp_path / "file")


def test_output_folder_that_no_disk_can_hold(tmp_path):
    with pytest.raises(UserError, match=r"a\\x00b: cannot write into this folder .*null"):
        check_output_dir(tmp_path / "a\0b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_folder_without_permission(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(UserError, match="locked.*cannot write into this folder"):
        check_output_dir(folder)
