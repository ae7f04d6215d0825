import errno
import json
import logging
import multiprocessing
import os
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ovs_core.data.embedded import dataset
from ovs_core.data.embedded.dataset import (
    SPLITS,
    SplitSpec,
    content_hash,
    ensure_embedded_dataset,
    split_records,
)
from ovs_core.data.embedded.vocabulary import LARGE_NAMES, SEMANTIC_NAMES
from ovs_core.errors import UserError
from ovs_core.files.cache import stand_in_cache

TINY = SplitSpec(6, 1_000_000, ((64, 96), (80, 64)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return ensure_embedded_dataset("val", tmp_path_factory.mktemp("cache"), spec=TINY)


def test_files_match_their_records(folder):
    records = split_records(folder)
    assert len(records) == TINY.count
    for i, record in enumerate(records):
        size = TINY.sizes[i % 2]
        assert (record["height"], record["width"]) == size
        for key in ("file_name", "sem_seg_file_name", "sem_seg_208_file_name", "pan_seg_file_name"):
            with Image.open(record[key]) as picture:
                assert picture.size == size[::-1]
                assert picture.mode == ("L" if key.startswith("sem") else "RGB")
        assert record["captions"]


def test_panoptic_json_agrees_with_the_pngs(folder):
    content = json.loads((folder / "panoptic.json").read_text())
    assert [c["name"] for c in content["categories"]] == list(SEMANTIC_NAMES)
    for record in split_records(folder):
        rgb = np.asarray(Image.open(record["pan_seg_file_name"]), np.int64)
        ids = rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
        semantic = np.asarray(Image.open(record["sem_seg_file_name"]))
        assert set(np.unique(ids)) == {s["id"] for s in record["segments_info"]}
        for segment in record["segments_info"]:
            inside = ids == segment["id"]
            assert inside.sum() == segment["area"] and segment["iscrowd"] == 0
            assert (semantic[inside] == segment["category_id"]).all()
            left, top, width, height = segment["bbox"]
            assert inside[top : top + height, left : left + width].sum() == segment["area"]
            assert inside[top].any() and inside[:, left].any()
            assert inside[top + height - 1].any() and inside[:, left + width - 1].any()


def test_making_it_again_gives_the_same_bytes(folder, tmp_path):
    again = ensure_embedded_dataset("val", tmp_path, spec=TINY)
    assert content_hash(again) == content_hash(folder)


def test_a_second_call_makes_nothing(tmp_path, monkeypatch):
    ensure_embedded_dataset("val", tmp_path, spec=TINY)
    monkeypatch.setattr(dataset, "_make", lambda *_: pytest.fail("made again"))
    ensure_embedded_dataset("val", tmp_path, spec=TINY)


def _flip_a_byte(folder: Path) -> None:
    path = folder / "sem_seg" / "000003.png"
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(bytes(content))


DAMAGES = {
    "flipped byte": (_flip_a_byte, "hash"),
    "lost file": (lambda f: (f / "images" / "000000.png").unlink(), "hash"),
    "added file": (lambda f: (f / "images" / "x.png").write_bytes(b"x"), "hash"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "manifest"),
    "cut manifest": (lambda f: (f / "manifest.json").write_text("{"), "manifest"),
    "other version": (
        lambda f: (f / "manifest.json").write_text('{"origin": {}}'), "another version"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_folder_is_made_anew_and_says_so(name, folder, tmp_path, caplog):
    damage, reason = DAMAGES[name]
    made = ensure_embedded_dataset("val", tmp_path, spec=TINY)
    damage(made)
    with caplog.at_level(logging.WARNING):
        ensure_embedded_dataset("val", tmp_path, spec=TINY)
    assert reason in caplog.text and "making it anew" in caplog.text
    assert content_hash(made) == content_hash(folder)


def _make_slowly(root: str) -> None:
    ensure_embedded_dataset("val", Path(root), spec=SplitSpec(100_000, 1_000_000, TINY.sizes))


def test_a_killed_generation_leaves_nothing_that_is_taken_for_data(folder, tmp_path):
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_make_slowly, args=(str(tmp_path),))
    process.start()
    part = tmp_path / "embedded" / ".val.part"
    deadline = time.time() + 60
    while not (part / "images" / "000003.png").exists() and time.time() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert (part / "images" / "000003.png").exists()
    assert not (tmp_path / "embedded" / "val").exists()
    made = ensure_embedded_dataset("val", tmp_path, spec=TINY)
    assert content_hash(made) == content_hash(folder) and not part.exists()


def _make_tiny(root: str) -> None:
    ensure_embedded_dataset("val", Path(root), spec=TINY)


def test_two_processes_make_it_once(folder, tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_make_tiny, args=(str(tmp_path),)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert content_hash(tmp_path / "embedded" / "val") == content_hash(folder)


def test_unknown_split_names_the_nearest():
    with pytest.raises(UserError, match="split of the embedded dataset: 'vall' is unknown.*'val'"):
        ensure_embedded_dataset("vall")


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Where temporary files go, and nothing is there yet."""
    (tmp_path / "stand_in").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "stand_in"))
    stand_in_cache.cache_clear()
    yield tmp_path / "stand_in"
    stand_in_cache.cache_clear()


def refuse(*_, **__):
    raise OSError(errno.EROFS, "Read-only file system")


def test_a_cache_that_cannot_be_written_is_done_without(folder, tmp_path, stand_in, caplog):
    (tmp_path / "file").write_text("")
    made = ensure_embedded_dataset("val", tmp_path / "file", spec=TINY)
    assert stand_in in made.parents and content_hash(made) == content_hash(folder)
    assert "OVSUITE_CACHE" in caplog.text and str(tmp_path / "file") in caplog.text
    assert len(caplog.records) == 1


def test_a_full_disk(folder, tmp_path, stand_in, monkeypatch, caplog):
    original = dataset._write_pictures

    def write(part, *arguments):
        if stand_in not in part.parents and len(list((part / "images").iterdir())) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(part, *arguments)

    monkeypatch.setattr(dataset, "_write_pictures", write)
    made = ensure_embedded_dataset("val", tmp_path / "cache", spec=TINY)
    assert stand_in in made.parents and content_hash(made) == content_hash(folder)
    assert "No space left on device" in caplog.text
    left = {p.name for p in (tmp_path / "cache" / "embedded").iterdir()}
    assert left <= {".ovsuite.lock"}


def test_a_cache_that_can_only_be_read_is_used(tmp_path, stand_in, monkeypatch):
    made = ensure_embedded_dataset("val", tmp_path, spec=TINY)
    monkeypatch.setattr(dataset, "wait_for_folder", refuse)
    assert ensure_embedded_dataset("val", tmp_path, spec=TINY) == made


def test_metadata_lead_to_where_the_files_are(tmp_path, stand_in, monkeypatch):
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from ovs_core.data.embedded import register

    register.register_embedded()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OVSUITE_CACHE", str(tmp_path / "file"))
    monkeypatch.setitem(SPLITS, "val", TINY)
    for kind, keys in (
        ("panoptic", ("panoptic_root", "panoptic_json")), ("detection", ("json_file",)),
    ):  # fmt: skip
        DatasetCatalog.get(f"embedded_{kind}_val")
        metadata = MetadataCatalog.get(f"embedded_{kind}_val")
        for key in (*keys, "image_root"):
            path = Path(metadata.get(key))
            assert path.exists() and stand_in in path.parents


def test_no_room_anywhere_is_one_clear_error(tmp_path, stand_in, monkeypatch):
    monkeypatch.setattr(dataset, "wait_for_folder", refuse)
    with pytest.raises(UserError, match="Read-only file system.*set OVSUITE_CACHE"):
        ensure_embedded_dataset("val", tmp_path, spec=TINY)
    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    stand_in_cache.cache_clear()
    with pytest.raises(UserError, match="cannot be written either.*set OVSUITE_CACHE"):
        ensure_embedded_dataset("val", tmp_path, spec=TINY)


def test_registered_sets(tmp_path, monkeypatch):
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from ovs_core.data.embedded import register

    register.register_embedded()
    monkeypatch.setenv("OVSUITE_CACHE", str(tmp_path))
    monkeypatch.setitem(SPLITS, "val", TINY)
    for name, classes in (
        ("sem_seg", SEMANTIC_NAMES),
        ("sem_seg_208", LARGE_NAMES),
        ("panoptic", SEMANTIC_NAMES),
    ):
        metadata = MetadataCatalog.get(f"embedded_{name}_val")
        assert tuple(metadata.stuff_classes) == classes
        assert len(metadata.stuff_colors) == len(classes)
        assert metadata.ignore_label == 255
        both = [*metadata.seen_classes, *metadata.unseen_classes]
        assert sorted(both) == list(range(len(classes)))
        records = DatasetCatalog.get(f"embedded_{name}_val")
        assert len(records) == TINY.count
        for record in records:
            labels = np.asarray(Image.open(record["sem_seg_file_name"]))
            assert labels.shape == (record["height"], record["width"])
            assert labels.max() < len(classes)
            assert ("segments_info" in record) == (name == "panoptic")
    panoptic = MetadataCatalog.get("embedded_panoptic_val")
    assert panoptic.evaluator_type == "coco_panoptic_seg" and len(panoptic.thing_classes) == 20
    assert Path(panoptic.panoptic_json).parent.name == "val"
