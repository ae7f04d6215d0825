"""The cache of texts never decides: what is wrong in it is made again, with one line."""

import errno
import multiprocessing
import random
import time

import pytest
import torch
from safetensors.torch import load_file, save_file

from ovs_core.clip import TextEmbedder, TextEncoder, text_store
from ovs_core.clip.text_store import DIGEST, TENSOR, TEXTS, TextStore
from ovs_core.files.locks import wait_for_folder

TEMPLATES = ["a photo of a {}."]
WORDS = ["cat", "dog"]


@pytest.fixture
def right(tiny_clip):
    return TextEmbedder(TextEncoder(tiny_clip), folder="").texts(WORDS, TEMPLATES)


@pytest.fixture
def embed(tiny_clip, tmp_path):
    """Embed in a process that has just begun; give the rows and how many prompts it computed."""

    def embed():
        encoder = TextEncoder(tiny_clip)
        rows = TextEmbedder(encoder, folder=tmp_path).texts(WORDS, TEMPLATES)
        return rows, encoder.num_computed

    return embed


def rewrite(path, change, **metadata):
    """Write what a store's file holds otherwise."""
    (row_file,) = path.rglob("*.safetensors")
    rows = change(load_file(row_file)[TENSOR])
    texts = '["cat", "dog"]'
    stated = {TEXTS: texts, DIGEST: text_store.fingerprint({texts: rows}), **metadata}
    save_file({TENSOR: rows.contiguous()}, row_file, metadata=stated)


@pytest.mark.parametrize(
    ("change", "metadata"),
    [
        (lambda rows: rows[:, :8], {}),
        (lambda rows: rows[:1], {}),
        (lambda rows: rows[0], {}),
        (lambda rows: rows.half(), {}),
        (lambda rows: rows.double(), {}),
        (lambda rows: rows * 2, {}),
        (lambda rows: rows * float("nan"), {}),
        (lambda rows: rows.flip(0), {DIGEST: "0" * 32}),
        (lambda rows: rows, {DIGEST: "0" * 32}),
        (lambda rows: rows, {TEXTS: "5"}),
        (lambda rows: rows, {TEXTS: '["cat", "cow"]'}),
        (lambda rows: rows, {TEXTS: "["}),
    ],
)
def test_what_is_wrong_is_made_again(embed, right, tmp_path, caplog, change, metadata):
    embed()
    rewrite(tmp_path, change, **metadata)
    rows, computed = embed()
    assert torch.equal(rows, right) and computed == 2
    assert len(caplog.records) == 1 and "damaged text cache, computing again" in caplog.text
    rows, computed = embed()
    assert torch.equal(rows, right) and computed == 0
    assert len(caplog.records) == 1


def test_a_file_of_an_earlier_version_is_made_again(embed, right, tmp_path, caplog):
    embed()
    (file,) = tmp_path.rglob("*.safetensors")
    save_file({TENSOR: right.cpu()}, file, metadata={TEXTS: '["cat", "dog"]'})
    assert embed()[1] == 2
    assert "of an earlier version" in caplog.text


def test_flipped_bits(embed, right, tmp_path):
    embed()
    (file,) = tmp_path.rglob("*.safetensors")
    content = file.read_bytes()
    for seed in range(100):
        chosen = random.Random(seed)
        flipped = bytearray(content)
        flipped[chosen.randrange(len(flipped))] ^= 1 << chosen.randrange(8)
        file.write_bytes(flipped)
        assert torch.equal(embed()[0], right), seed


def test_a_folder_that_cannot_be_made_is_one_warning(tiny_clip, right, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    embedder = TextEmbedder(TextEncoder(tiny_clip), folder=tmp_path / "file" / "text")
    assert torch.equal(embedder.texts(WORDS, TEMPLATES), right)
    assert torch.equal(embedder.texts([*WORDS, "bird"], TEMPLATES)[:2], right)
    (record,) = caplog.records
    assert "OVSUITE_CACHE" in record.getMessage() and "file/text" in record.getMessage()


@pytest.mark.parametrize("size", [0, 100])
def test_a_full_disk_is_one_warning(embed, right, tmp_path, limit_files, caplog, size):
    limit_files(size)
    rows, computed = embed()
    limit_files(None)
    assert torch.equal(rows, right) and computed == 2
    assert len(caplog.records) == 1 and "keeping text embeddings in memory" in caplog.text
    assert embed()[1] == 2
    assert embed()[1] == 0


def test_a_folder_that_can_only_be_read_is_read(embed, right, monkeypatch, caplog):
    embed()

    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(text_store, "wait_for_folder", refuse)
    rows, computed = embed()
    assert torch.equal(rows, right) and computed == 0
    assert not caplog.records


def hold(folder, ready, seconds):
    with wait_for_folder(folder, "an encoding of texts"):
        ready.set()
        time.sleep(seconds)


def test_another_process_is_waited_for(tmp_path, monkeypatch, caplog):
    store = TextStore(tmp_path, ["key"], 16)
    monkeypatch.setattr("ovs_core.files.locks.PATIENCE", 0.05)
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=hold, args=(store.folder, ready, 0.5))
    process.start()
    ready.wait(30)
    with store.lock():
        pass
    process.join()
    assert f"waiting for an encoding of texts of process {process.pid}" in caplog.text
