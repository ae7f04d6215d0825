"""Checkpoints in the layouts of the released trainers, and what is said about them."""

import logging
from pathlib import Path

import open_clip
import pytest
import torch

from hclip.merge import merge
from ovs_core.clip import CARRIED
from ovs_core.engine.checkpoint import OVSCheckpointer
from ovs_core.engine.config import load_cfg
from ovs_core.engine.run import build_segmenter
from ovs_core.errors import UserError
from ovs_core.methods.projects import config_dir
from ovs_core.modeling.checkpoint import trained_state
from parity.hclip.build import tiny_model
from parity.runner import read_case

DATA = Path(__file__).resolve().parent.parent / "data"
FILES = {"attention": "catseg/catseg_eval_a.npz", "hclip": "hclip/full_eval_sliding_a.npz"}
HEAD = "sem_seg_head.predictor.transformer.head.weight"


@pytest.fixture(params=sorted(FILES))
def released(request):
    """A model of a reference file, another one with other weights, and the released tensors."""
    case = read_case(DATA / FILES[request.param])
    model, other = (tiny_model(case, request.param) for _ in range(2))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
    tensors = case.tensors("weights")
    if request.param == "hclip":  # as released: one alias per block
        shared = [n for n in tensors if "_oft_layer_R" in n or "_oft_relation" in n]
        for name in shared:
            tensors[name.replace("resblocks.0", "resblocks.1")] = tensors[name].clone()
    return model, other, tensors


def load(model, tensors, path):
    torch.save({"model": tensors}, path)
    OVSCheckpointer(model).load(str(path))


def test_a_released_file_gives_all_weights(released, tmp_path, caplog):
    model, other, tensors = released
    extra = {"pixel_mean": torch.zeros(3), "sem_seg_head.predictor.surplus": torch.zeros(2)}
    with caplog.at_level(logging.INFO):
        load(other, tensors | extra, tmp_path / "model_base.pth")
    for name, value in model.state_dict().items():
        ours = other.state_dict()[name]
        if f"{name.removesuffix('original')}0.query" in model.state_dict():  # only keys are read
            ours, value = ours.chunk(3)[1], value.chunk(3)[1]
        torch.testing.assert_close(ours, value, rtol=0, atol=0, msg=name)
    assert "1 unexpected (sem_seg_head.predictor.surplus)" in caplog.text
    assert "missing" not in caplog.text


def test_trained_rows_make_no_other_clip(tmp_path):
    case = read_case(DATA / FILES["attention"])
    model, tensors = tiny_model(case, "attention"), case.tensors("weights")
    identity, trained = model.clip.identity, [n for n in tensors if n.endswith("q_proj_weight")]
    for name in trained:
        tensors[name] = tensors[name] + 1
    load(model, tensors, tmp_path / "model_base.pth")
    assert trained and model.clip.identity == identity
    load(
        model, {n: t + 1 if "ln_final" in n else t for n, t in tensors.items()}, tmp_path / "a.pth"
    )
    assert model.clip.identity.pretrained == CARRIED


def test_every_missing_tensor_is_named(released, tmp_path, caplog):
    _, other, tensors = released
    with caplog.at_level(logging.INFO):
        load(other, {n: t for n, t in tensors.items() if n != HEAD}, tmp_path / "cut.pth")
    assert "1 missing (decoder.head.weight)" in caplog.text


def test_a_file_of_another_size_is_refused(released, tmp_path):
    _, other, tensors = released
    half = {n: t for n, t in tensors.items() if "layers" not in n}
    with pytest.raises(UserError, match="does not fit this config"):
        load(other, half, tmp_path / "half.pth")


def test_aliases_must_agree(tmp_path):
    case = read_case(DATA / FILES["hclip"])
    tensors = case.tensors("weights")
    name = next(n for n in tensors if n.endswith("_oft_layer_R"))
    tensors[name.replace("resblocks.0", "resblocks.1")] = tensors[name] + 1
    with pytest.raises(UserError, match="should be one shared tensor"):
        load(tiny_model(case, "hclip"), tensors, tmp_path / "model.pth")


@pytest.mark.slow
def test_vitb16_is_written_small_and_merged_for_open_clip(tmp_path):
    """At real size: the checkpoint's bytes, and a file that open_clip loads by itself."""
    cfg = load_cfg(config_dir("hclip") / "vitb16.yaml", ["MODEL.CLIP.PRETRAINED", "random"])
    model = build_segmenter(cfg)
    with torch.no_grad():
        for parameter in model.adaptation.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    OVSCheckpointer(model, str(tmp_path)).save("model_final")
    size = (tmp_path / "model_final.pth").stat().st_size
    numbers = sum(t.numel() for t in trained_state(model).values())
    assert numbers == 12_536_465 and 4 * numbers <= size < 4 * numbers + 100_000  # 50 MB
    tokens = open_clip.get_tokenizer("ViT-B-16-quickgelu")(["a cat", "a dog on a sofa"])
    with torch.no_grad():
        expected = model.text_encoder(tokens)
    merge(model, tmp_path / "merged.safetensors")
    plain = open_clip.create_model("ViT-B-16-quickgelu", str(tmp_path / "merged.safetensors"))
    with torch.no_grad():
        torch.testing.assert_close(plain.eval().encode_text(tokens), expected, rtol=1e-5, atol=1e-5)
