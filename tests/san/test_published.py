"""Published checkpoint layouts: every key is known, other models are refused."""

import json
from pathlib import Path

import pytest
import torch

from ovs_core.clip import CLIP
from ovs_core.clip.architectures import build_model, model_config
from ovs_core.engine.config import load_cfg
from ovs_core.errors import UserError
from ovs_core.methods.configs import find_config
from ovs_core.modeling.checkpoint import load_published
from ovs_core.modeling.protocols import Whole
from ovs_core.modeling.published_names import translate
from san.build import san_on
from san.model import SAN
from san.published import published_rules

DATA = Path(__file__).resolve().parent.parent / "data" / "san"
LAYOUTS = {"vitb16": "san_vit_b_16", "vitl14": "san_vit_large_14"}
TRAINED = {"vitb16": 8_370_866, "vitl14": 9_321_650}


def layout(config):
    return json.loads((DATA / f"layout_{LAYOUTS[config]}.json").read_text())


def shapes_only(config, monkeypatch):
    """The model of a published config, with shapes and no weights, which have no fingerprint."""
    monkeypatch.setattr(CLIP, "renew_identity", lambda *_, **__: None)
    cfg = load_cfg(find_config(f"san/{config}"))
    with torch.device("meta"):
        model = build_model(model_config(cfg.MODEL.CLIP.ARCHITECTURE))
        clip = CLIP(model, None, architecture=config, pretrained="none")
        return SAN(**san_on({"clip": clip, "templates": ["{}"], "protocol": Whole()}, cfg))


@pytest.mark.parametrize("config", LAYOUTS)
def test_configs_build_the_published_layouts(config, monkeypatch):
    """Every tensor of the published files, with its shape, and no other; and what is trained."""
    model, published = shapes_only(config, monkeypatch), layout(config)
    rules = published_rules(model.recognition.split, model.encoder.num_blocks)
    left_out = {"criterion.empty_weight", "ov_classifier.attn_mask"}
    stated = {translate(n, rules): s for n, s in published["keys"].items() if n not in left_out}
    state = {n: list(t.shape) for n, t in model.state_dict().items()}
    assert state == stated
    backwards = [(ours, theirs) for theirs, ours in rules]
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert {translate(n, backwards) for n in trained} == set(published["trained"])
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == TRAINED[config]


def published(model):
    """A checkpoint as the released code would write it for this model."""
    rules = published_rules(model.recognition.split, model.encoder.num_blocks)
    backwards = [(ours, theirs) for theirs, ours in rules]
    state = {translate(n, backwards): t.clone() for n, t in model.state_dict().items()}
    state["criterion.empty_weight"] = torch.ones(172)
    state["ov_classifier.attn_mask"] = torch.zeros(77, 77)
    return {"model": state}


def shifted(model):
    """The same with other weights, but for the text tower's."""
    data = published(model)
    for name, value in data["model"].items():
        if name == "ov_classifier.bg_embed" or not name.startswith("ov_classifier."):
            data["model"][name] = value + 0.25
    return data


def test_a_checkpoint_loads_completely(make):
    source, target = make(), make()
    before = {n: t.clone() for n, t in source.state_dict().items()}
    report = load_published(target, shifted(source), "x.pth")
    assert report.complete
    for name, value in target.state_dict().items():
        of_text = name.startswith("clip.model.") and not name.startswith("clip.model.visual.")
        assert torch.equal(value, before[name] + (0.0 if of_text else 0.25)), name


@pytest.mark.parametrize("format", ["learnable_token", "pos_embedding"])
def test_recognition_tokens_of_their_own_load(make, format):
    model = make("MODEL.SAN.SOS_TOKEN_FORMAT", format)
    assert "clip_rec_head.sos_token" in published(model)["model"]
    assert load_published(model, published(model), "x.pth").complete


def test_a_missing_and_a_strange_tensor_are_named(make):
    model = make()
    data = published(model)
    data["model"].pop("side_adapter_network.mask_decoder.bias_scaling.weight")
    with pytest.raises(UserError, match="missing .*bias_scaling"):
        load_published(model, data, "x.pth")
    data = published(model)
    data["model"]["side_adapter_network.more"] = torch.zeros(1)
    with pytest.raises(UserError, match=r"unexpected .*side_adapter\.more"):
        load_published(model, data, "x.pth")


def test_another_split_is_refused(make):
    other = make("MODEL.SAN.FEATURE_LAST_LAYER_IDX", "4")
    with pytest.raises(UserError, match=r"behind block 4, but MODEL\.SAN\.FEATURE_LAST_LAYER_IDX"):
        load_published(make(), published(other), "x.pth")


def test_another_text_tower_is_refused_and_taken_where_the_own_is_random(make):
    model = make("MODEL.CLIP.PRETRAINED", "random")
    data = shifted(make())
    with pytest.raises(UserError, match="another CLIP"):
        other = shifted(make())
        other["model"]["ov_classifier.text_projection"] += 1
        load_published(make(), other, "x.pth")
    assert load_published(model, data, "x.pth").complete
    assert torch.equal(
        model.clip.model.text_projection, data["model"]["ov_classifier.text_projection"]
    )
