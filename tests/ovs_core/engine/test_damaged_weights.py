"""Weights are what was written: no damaged, foreign or hostile file loads without a word."""

import random
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ovs_core.clip.weight_files import read_weight_file
from ovs_core.errors import UserError
from ovs_core.load_report import load_weights
from ovs_core.modeling.checkpoint import FORMAT, load_checkpoint, read_checkpoint
from ovs_core.modeling.contract import OpenVocabularyModel

FLIPS = 150


class Small(OpenVocabularyModel):
    """One layer; stands on no CLIP, which nothing here asks for."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 16)


def tensors():
    return {name: t.clone() for name, t in Small().state_dict().items()}


def flipped(path, seed):
    """Write a copy of a file with one bit turned."""
    content = bytearray(path.read_bytes())
    chosen = random.Random(seed)
    place = chosen.randrange(len(content))
    content[place] ^= 1 << chosen.randrange(8)
    copy = path.with_name(f"flipped{path.suffix}")
    copy.write_bytes(content)
    return copy


@pytest.mark.parametrize("seed", range(FLIPS))
def test_a_flipped_bit_never_changes_weights_in_silence(tmp_path, seed):
    path = tmp_path / "weights.pt"
    right = {"weight": torch.arange(4096.0).view(64, 64) / 7, "bias": torch.ones(64)}
    torch.save(right, path)
    try:
        read = read_weight_file(flipped(path, seed)).tensors
    except UserError as error:
        assert "\n" not in str(error) and "flipped.pt" in str(error)
        return
    # A bit that belongs to no content, such as padding or a time stamp
    assert read.keys() == right.keys()
    assert all(torch.equal(read[name], right[name]) for name in right)


@pytest.mark.parametrize("part", ["architecture", "clip", "model"])
def test_a_missing_part_is_named(tmp_path, part):
    content = {"format": FORMAT, "architecture": "Small", "clip": {}, "model": tensors()}
    del content[part]
    with pytest.raises(UserError, match=f"its part '{part}' is missing"):
        load_checkpoint(Small(), content, "a.pth")


@pytest.mark.parametrize("digests", [[1], None, 7])
def test_digests_that_are_no_map(digests):
    content = {"format": FORMAT, "architecture": "Small", "clip": {}, "model": tensors()}
    with pytest.raises(UserError, match="its part 'digests' is missing or damaged"):
        load_checkpoint(Small(), content | {"digests": digests}, "a.pth")


@pytest.mark.parametrize("name", ["layer.weight", 5])
@pytest.mark.parametrize("value", ["text", None, [1.0], torch.zeros(16, 16).to_sparse()])
def test_what_is_no_tensor(name, value):
    content = {"format": FORMAT, "architecture": "Small", "clip": {}, "digests": {name: "a"}}
    with pytest.raises(UserError, match=f"a.pth: {name} in its part 'model' is no plain tensor"):
        load_checkpoint(Small(), content | {"model": tensors() | {name: value}}, "a.pth")


@pytest.mark.parametrize("field", ["architecture", "pretrained", "text_fingerprint"])
def test_a_clip_that_is_not_named_whole(field):
    clip = dict.fromkeys(["architecture", "pretrained", "text_fingerprint"], "a")
    del clip[field]
    content = {"format": FORMAT, "architecture": "Small", "clip": clip, "model": tensors()}
    with pytest.raises(UserError, match=f"a.pth: its part 'clip' has no {field}"):
        load_checkpoint(Small(), content, "a.pth")


def test_a_tensor_that_is_not_what_was_written(tmp_path):
    content = {"format": FORMAT, "architecture": "Small", "clip": {}, "model": tensors()}
    content["digests"] = {"layer.weight": "0" * 32}
    with pytest.raises(UserError, match="layer.weight is not what was written"):
        load_checkpoint(Small(), content, "a.pth")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.masked_fill(torch.ones_like(t, dtype=torch.bool), float("nan")), "NaN"),
        (lambda t: t / 0, "NaN or infinite"),
        (lambda t: t.long(), "int64 values where floats belong"),
        (lambda t: t.to(torch.complex64), "complex64 values where floats belong"),
        (lambda t: t.to(torch.float8_e4m3fn), "float8_e4m3fn values where floats belong"),
        (lambda t: t.double() + 1e300, "NaN or infinite values .as float32"),
        (lambda t: t.to_sparse(), "no plain values"),
        (lambda t: t.to("meta"), "no plain values"),
    ],
)
def test_values_that_no_training_gives(spoil, message):
    given = tensors()
    given["layer.weight"] = spoil(given["layer.weight"])
    model = Small()
    before = model.layer.weight.clone()
    with pytest.raises(UserError, match=f"a.pth: layer.weight holds {message}|holds {message}"):
        load_weights(model, given, source="a.pth", owner="a test", mend="nothing")
    assert torch.equal(model.layer.weight, before)


def test_half_precision_is_as_good(tmp_path):
    given = {name: t.half() for name, t in tensors().items()}
    load_weights(Small(), given, source="a.pth", owner="a test", mend="nothing")


def test_an_archive_that_would_unpack_to_much_more_is_refused_unread(tmp_path):
    path = tmp_path / "bomb.pt"
    torch.save({"weight": torch.zeros(2**20)}, path)
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.infolist():
            new.writestr(part.filename, old.read(part))
    for read in (read_weight_file, read_checkpoint):
        with pytest.raises(UserError, match="would unpack to"):
            read(packed)


def test_safetensors_with_nan_are_refused_when_they_are_loaded(tmp_path):
    given = tensors()
    given["layer.bias"][3] = float("inf")
    save_file(given, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="layer.bias holds NaN or infinite values"):
        load_weights(
            Small(),
            read_weight_file(tmp_path / "a.safetensors").tensors,
            source="a.safetensors",
            owner="a test",
            mend="nothing",
        )
