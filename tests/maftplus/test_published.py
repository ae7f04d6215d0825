"""Published checkpoint layouts: every key is known, other models are refused."""

import json
from pathlib import Path

import pytest
import torch

from maftplus.key_map import our_name, published_name
from ovs_core.engine.checkpoint import load_published
from ovs_core.errors import UserError

DATA = Path(__file__).resolve().parent.parent / "data"
LAYOUTS = sorted(DATA.glob("fcclip/layout_*.json")) + sorted(DATA.glob("maftplus/layout_*.json"))
PARTS = ("clip.model.", "teacher.", "pixel_decoder.", "decoder.", "text_rows.", "transfer.")


def keys(path):
    return json.loads(path.read_text())["keys"]


@pytest.mark.parametrize("path", LAYOUTS, ids=lambda p: p.stem)
def test_every_published_key_has_one_name_here_and_back(path):
    names = {our_name(k): k for k in keys(path)}
    assert len(names) == len(keys(path))
    strange = [n for n in names if not n.startswith(PARTS) and n != "criterion.empty_weight"]
    assert not strange
    assert all(published_name(ours) == theirs for ours, theirs in names.items())


def published(model, classes=3):
    """A checkpoint as the released code would write it for this model."""
    state = {published_name(k): v.clone() + 0.25 for k, v in model.state_dict().items()}
    for name, value in model.clip.model.state_dict().items():
        state[f"backbone_t.clip_model.{name}"] = value.clone()
        if not name.startswith("visual."):
            state[f"backbone.clip_model.{name}"] = value.clone()
    state["criterion.empty_weight"] = torch.ones(classes + 1)
    return {"model": state}


@pytest.mark.parametrize("method", ["fcclip", "maftplus"])
def test_a_checkpoint_loads_completely(make, method):
    source, target = make(method), make(method)
    report = load_published(target, published(source), "x.pth")
    assert not report.missing and not report.unexpected and not report.shapes
    for name, value in source.state_dict().items():
        expected = value if name in text_names(source) else value + 0.25
        assert torch.equal(target.state_dict()[name], expected), name


def text_names(model):
    return {f"clip.model.{n}" for n in model.clip.model.state_dict() if not n.startswith("visual.")}


def test_a_file_without_the_teacher_loads(make):
    model = make("maftplus")
    data = published(model)
    data["model"] = {k: v for k, v in data["model"].items() if not k.startswith("backbone_t.")}
    assert load_published(model, data, "x.pth").share == 1.0


def test_another_method_is_refused(make):
    with pytest.raises(UserError, match="missing .*transfer"):
        load_published(make("maftplus"), published(make("fcclip")), "x.pth")


def test_another_backbone_is_refused(make):
    clip = {"kind": "convnext", "depths": [1, 1, 1, 1], "dims": [8, 16, 24, 40], "embed": 16,
            "proj": "mlp"}  # fmt: skip
    with pytest.raises(UserError, match="of other shape"):
        load_published(make("fcclip"), published(make("fcclip", clip=clip)), "x.pth")


def test_another_number_of_classes_is_refused(make):
    model = make("fcclip")
    with pytest.raises(UserError, match="trained on 7 classes"):
        load_published(model, published(model, classes=7), "x.pth")


def test_another_text_tower_is_refused(make):
    model = make("fcclip")
    data = published(model)
    data["model"]["backbone.clip_model.text_projection"] += 1
    with pytest.raises(UserError, match="another CLIP"):
        load_published(model, data, "x.pth")
