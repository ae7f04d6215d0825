"""Published checkpoint layouts: every key is known, other models are refused."""

import json
from pathlib import Path

import open_clip
import pytest
import torch

from maftplus.build import build_decoder, build_pixel_decoder, training_vocabulary
from maftplus.published import our_name
from maftplus.texts import TextRows
from maftplus.transfer import ContentTransfer
from ovs_core.clip.architectures import model_config
from ovs_core.clip.conv_encoder import ConvEncoder
from ovs_core.engine.config import load_cfg
from ovs_core.errors import UserError
from ovs_core.methods.configs import find_config
from ovs_core.modeling.checkpoint import load_published
from parity.maftplus.names import published_name

DATA = Path(__file__).resolve().parent.parent / "data"
LAYOUTS = sorted(DATA.glob("fcclip/layout_*.json")) + sorted(DATA.glob("maftplus/layout_*.json"))
CLIP_FIELDS = ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu")
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


def true_parts(config):
    """Our name -> shape of everything that a config of published size builds; holds no weights."""
    cfg = load_cfg(find_config(f"maftplus/{config}"))
    visual_and_text = model_config(cfg.MODEL.CLIP.ARCHITECTURE)
    classes = len(training_vocabulary(cfg))
    with torch.device("meta"):
        clip = open_clip.CLIP(**{k: v for k, v in visual_and_text.items() if k in CLIP_FIELDS})
        encoder = ConvEncoder(clip.visual)
        dim = visual_and_text["embed_dim"]
        parts = {
            "clip.model": clip,
            "pixel_decoder": build_pixel_decoder(cfg, encoder.channels),
            "decoder": build_decoder(cfg, dim),
            "text_rows": TextRows(dim),
        }
        if cfg.MODEL.META_ARCHITECTURE == "MAFTPlus":
            heads, norm = cfg.MODEL.MAFTPLUS.CDT_HEADS, cfg.MODEL.MAFTPLUS.CDT_NORM
            parts["transfer"] = ContentTransfer(dim, heads=heads, norm=norm)
            parts["teacher"] = clip
    shapes = {
        f"{prefix}.{name}": list(tensor.shape)
        for prefix, part in parts.items()
        for name, tensor in part.state_dict().items()
    }
    return {**shapes, "criterion.empty_weight": [classes + 1]}


@pytest.mark.parametrize(
    ("layout", "config"),
    [
        ("fcclip/layout_fcclip_convnext_large", "fcclip_convnext_large"),
        ("fcclip/layout_fcclip_rn50", "fcclip_rn50"),
        ("maftplus/layout_maftp_b", "maftplus_base"),
        ("maftplus/layout_maftp_l", "maftplus_large"),
        ("maftplus/layout_maftp_l_pano", "maftplus_large_panoptic"),
    ],
)
def test_configs_build_the_published_layouts(layout, config):
    """Every tensor of the published files, with its shape, and no other."""
    published_shapes = keys(DATA / f"{layout}.json")
    stated = {our_name(name): list(shape) for name, shape in published_shapes.items()}
    assert true_parts(config) == stated
