"""Weights to share: the same labels, the same checks, and a card with the facts."""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ovs_core import Predictor
from ovs_core.commands import main
from ovs_core.data.embedded.scenes import render_scene
from ovs_core.engine.run import run
from ovs_core.errors import UserError
from ovs_core.export.shared_weights import export_weights
from ovs_core.modeling.checkpoint import check_content, read_checkpoint

WORDS = ["car", "sky", "grass"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    options = ("SOLVER.MAX_ITER", "1", "SOLVER.IMS_PER_BATCH", "2", "DATASETS.TEST", "()",
               "MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(folder))  # fmt: skip
    run("hclip/tiny", options)
    figures = folder / "inference" / "embedded_sem_seg_val" / "sem_seg_evaluation.json"
    figures.parent.mkdir(parents=True)
    figures.write_text(json.dumps({
        "task": "sem_seg", "dataset": "embedded_sem_seg_val", "rule": "mIoU: classes in the truth",
        "pictures": 7, "date": "2020-01-02", "figures": {"mIoU": 12.345, "hIoU": None},
    }))  # fmt: skip
    return folder


def labels(weights):
    predictor = Predictor.from_config("hclip/tiny", weights=str(weights), device="cpu")
    return predictor(render_scene(seed=3, size=(96, 128)).image, WORDS).labels


def test_the_file_gives_the_labels_of_the_run(trained, tmp_path):
    export_weights(trained, tmp_path / "whole.safetensors")
    export_weights(trained, tmp_path / "half.safetensors", half=True)
    wanted = labels(trained / "model_final.pth")
    assert np.array_equal(labels(tmp_path / "whole.safetensors"), wanted)
    assert (labels(tmp_path / "half.safetensors") == wanted).mean() > 0.99
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.6 * sizes[1]


def test_the_card_has_the_facts(trained, tmp_path):
    card = export_weights(trained, tmp_path / "w.safetensors").read_text()
    for fact in ("hclip/tiny", "embedded_sem_seg_train", "embedded-vit", "Apache-2.0", "12.35",
                 "mIoU: classes in the truth", "7 pictures", "MAX_ITER: 1"):  # fmt: skip
        assert fact in card, fact
    assert str(trained.parent) not in card  # whose folder it was is nobody's business
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        facts = json.loads(file.metadata()["card"])
    assert facts["iterations"] == 1 and facts["trained_on"] == ["embedded_sem_seg_train"]


def test_nothing_is_overwritten_unasked(trained, tmp_path, capsys):
    line = ["export-weights", str(trained), "--output", str(tmp_path / "w.safetensors")]
    assert main(line) == 0
    (tmp_path / "w.safetensors").unlink()
    (tmp_path / "w.md").write_text("mine")
    assert main(line) == 1
    assert "w.md: exists; give --overwrite" in capsys.readouterr().err
    assert (tmp_path / "w.md").read_text() == "mine"
    assert main([*line, "--overwrite"]) == 0


@pytest.mark.parametrize(("run_folder", "output", "message"), [
    ("none", "w.safetensors", "no such folder"),
    (".", "w.safetensors", "no config.yaml in it"),
    (".", "w.pth", "must end in .safetensors"),
])  # fmt: skip
def test_wrong_input_is_refused(tmp_path, monkeypatch, run_folder, output, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        export_weights(run_folder, output)


def test_what_is_not_as_written_is_refused(trained, tmp_path):
    path = tmp_path / "w.safetensors"
    export_weights(trained, path)
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    rng = np.random.default_rng(0)
    for _ in range(40):
        damaged = bytearray(content)
        damaged[rng.integers(start, len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(UserError):
            check_content(read_checkpoint(path), path)


def test_no_bit_of_the_head_changes_what_is_read(trained, tmp_path):
    path = tmp_path / "w.safetensors"
    export_weights(trained, path)
    right, content = read_checkpoint(path), path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    places = [content.index(part, 0, end) + 1 for part in (
        b'"format"', b'"ovsuite"', b'"digests"', b'"__metadata__"', b'"clip"', b'"architecture"',
        b'HCLIP', b'"head"', b'embedded-vit', b'text_fingerprint', b'Apache-2.0', b'"card"',
    )]  # fmt: skip
    places += list(np.random.default_rng(1).integers(0, end, 60))
    for number, place in enumerate(places):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (number % 7)
        path.write_bytes(damaged)
        try:
            read = read_checkpoint(path)
            check_content(read, path)
        except UserError as error:
            assert "w.safetensors" in str(error)
            continue
        kept = ("format", "architecture", "clip", "digests")
        assert all(read[part] == right[part] for part in kept), place
        assert read["model"].keys() == right["model"].keys(), place
        assert all(torch.equal(read["model"][n], t) for n, t in right["model"].items()), place


def test_files_that_were_shared_without_a_digest_of_their_texts_are_read(trained, tmp_path):
    export_weights(trained, tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        texts = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del texts["head"]
    save_file(tensors, tmp_path / "old.safetensors", texts)
    check_content(read_checkpoint(tmp_path / "old.safetensors"), "old.safetensors")


def test_a_value_that_half_precision_cannot_hold_is_named(trained, tmp_path):
    data = torch.load(trained / "model_final.pth", weights_only=True)
    name = next(n for n, t in data["model"].items() if t.dtype == torch.float32)
    data["model"][name] = data["model"][name] * 0 + 1e30
    data.pop("digests")
    torch.save(data, tmp_path / "large.pth")
    with pytest.raises(UserError, match="too large for half precision"):
        export_weights(trained, tmp_path / "w.safetensors", checkpoint=tmp_path / "large.pth",
                       half=True)  # fmt: skip


def test_other_safetensors_are_no_checkpoint_of_the_suite(trained, tmp_path):
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    assert read_checkpoint(tmp_path / "other.safetensors").keys() == {"model"}
    with pytest.raises(UserError, match="no checkpoint of this suite"):
        export_weights(trained, tmp_path / "w.safetensors",
                       checkpoint=tmp_path / "other.safetensors")  # fmt: skip
    for clip in ("{", "[" * 100_000):
        damaged = {"format": "ovsuite", "architecture": "HCLIP", "clip": clip, "digests": "{}"}
        save_file({"weight": torch.zeros(2)}, tmp_path / "bad.safetensors", damaged)
        with pytest.raises(UserError, match="its part 'clip' is damaged"):
            read_checkpoint(tmp_path / "bad.safetensors")
