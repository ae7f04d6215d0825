"""No CLIP file that was damaged since its first use loads without a word, whatever its form."""

import json
import logging
import os
import random
import shutil

import pytest
import torch
from safetensors.torch import save_file

from ovs_core.clip import file_memory, load_clip
from ovs_core.clip.architectures import EMBEDDED_DIR
from ovs_core.clip.file_memory import DIGESTS, check_file
from ovs_core.errors import UserError
from ovs_core.files.digests import file_digest

from .test_loading import openai_archive, pytestmark  # noqa: F401 - marks this module, too

FLIPS = 40
FORMS = {
    "tensors.safetensors": lambda clip, path: save_file(dict(clip.model.state_dict()), path),
    "state.pt": lambda clip, path: torch.save(clip.model.state_dict(), path),
    "legacy.pt": lambda clip, path: torch.save(
        clip.model.state_dict(), path, _use_new_zipfile_serialization=False
    ),
    "openai.pt": openai_archive,
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OVSUITE_CACHE", str(tmp_path / "cache"))


def flip(path, content, chosen):
    damaged = bytearray(content)
    damaged[chosen.randrange(len(content))] ^= 1 << chosen.randrange(8)
    path.write_bytes(damaged)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("hidden", [True, False], ids=["rotten", "rewritten"])
def test_a_flipped_bit_is_told(tiny_clip, tiny_config, tmp_path, caplog, form, hidden):
    path = tmp_path / form
    FORMS[form](tiny_clip, path)
    content, status = path.read_bytes(), path.stat()
    load_clip(tiny_config, str(path))
    (record,) = (tmp_path / "cache" / "clip_files").iterdir()
    first = record.read_bytes()
    chosen = random.Random(form)
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]
    for _ in range(FLIPS if hidden else 3):  # to load each takes its time
        record.write_bytes(first)
        flip(path, content, chosen)
        if hidden:
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        caplog.clear()
        try:
            load_clip(tiny_config, str(path))
        except UserError as error:
            assert form in str(error) and "\n" not in str(error)
            continue
        assert not hidden
        assert f"{form}: is not the file that was used before" in caplog.text


@pytest.mark.parametrize("name", ["vit", "convnext"])
def test_embedded_files_are_those_that_were_published(tmp_path, monkeypatch, name):
    file = f"{name}.safetensors"
    check_file(EMBEDDED_DIR / file)
    for each in (file, DIGESTS):
        shutil.copy(EMBEDDED_DIR / each, tmp_path)
    monkeypatch.setattr(file_memory, "EMBEDDED_DIR", tmp_path)
    content, chosen = (tmp_path / file).read_bytes(), random.Random(name)
    for _ in range(20):
        flip(tmp_path / file, content, chosen)
        with pytest.raises(UserError, match=f"{file}: damaged, it is not what was published"):
            check_file(tmp_path / file)
    file_memory.write_digests()  # of one that was trained anew
    check_file(tmp_path / file)


def test_files_of_the_hub_have_the_checksum_that_names_them(tmp_path):
    blob = tmp_path / "blobs" / "content"
    blob.parent.mkdir()
    blob.write_bytes(b"weights")
    blob = blob.rename(blob.with_name(file_digest(blob, sha256=True)))
    link = tmp_path / "open_clip_model.safetensors"
    link.symlink_to(blob)
    check_file(link)
    blob.write_bytes(b"weighty")
    with pytest.raises(UserError, match="open_clip_model.safetensors: damaged"):
        check_file(link)


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"digest": 5})])
def test_a_damaged_record_is_made_anew(tmp_path, content, caplog):
    path = tmp_path / "a.pt"
    path.write_bytes(b"weights")
    check_file(path)
    (record,) = (tmp_path / "cache" / "clip_files").iterdir()
    right = record.read_text()
    record.write_text(content)
    check_file(path)
    assert record.read_text() == right
    wanted = "is not the file" if "digest" in content else "damaged, making it anew"
    assert wanted in caplog.text and len(caplog.records) == 1


def test_a_cache_that_cannot_be_written_is_said(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("OVSUITE_CACHE", str(tmp_path / "file"))
    (tmp_path / "a.pt").write_bytes(b"weights")
    check_file(tmp_path / "a.pt")
    assert "cannot be written" in caplog.text
