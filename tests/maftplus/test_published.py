"""Published checkpoint layouts: every key is known, other models are refused."""

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from maftplus.build import build_pixel_decoder, build_query_decoder, training_vocabulary
from maftplus.published import RULES
from maftplus.texts import TextRows
from maftplus.transfer import ContentTransfer
from ovs_core import Predictor
from ovs_core.clip import TextEmbedder, TextEncoder, fingerprint
from ovs_core.clip.architectures import model_config
from ovs_core.clip.conv_encoder import ConvEncoder
from ovs_core.engine.checkpoint import OVSCheckpointer
from ovs_core.engine.config import load_cfg
from ovs_core.engine.run import build_segmenter
from ovs_core.errors import UserError
from ovs_core.methods.configs import find_config
from ovs_core.modeling.checkpoint import load_published, read_checkpoint
from ovs_core.modeling.published_names import translate
from parity.maftplus.names import published_name

DATA = Path(__file__).resolve().parent.parent / "data"
LAYOUTS = sorted(DATA.glob("fcclip/layout_*.json")) + sorted(DATA.glob("maftplus/layout_*.json"))
CLIP_FIELDS = ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu")
PARTS = ("clip.model.", "teacher.", "pixel_decoder.", "decoder.", "text_rows.", "transfer.")


def keys(path):
    return json.loads(path.read_text())["keys"]


@pytest.mark.parametrize("path", LAYOUTS, ids=lambda p: p.stem)
def test_every_published_key_has_one_name_here_and_back(path):
    names = {translate(k, RULES): k for k in keys(path)}
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


def test_a_file_of_another_method_with_more_parts_is_refused(make):
    with pytest.raises(UserError, match="unexpected .*transfer"):
        load_published(make("fcclip"), published(make("maftplus")), "x.pth")


def on_random_clip(make, method="fcclip"):
    """A model whose CLIP is random and encodes words by itself."""
    model = make(method)
    model.clip.tokenizer = lambda texts: torch.tensor([[1, 2 + len(t) % 25, 31, 0] for t in texts])
    model.clip.renew_identity("random")
    model.text_embedder = TextEmbedder(TextEncoder(model.clip), folder="")
    return model.eval()


def other_clip(model):
    """A published checkpoint of a model, on a CLIP with other text weights."""
    data = published(model)
    for name, value in data["model"].items():
        if name.startswith("backbone.clip_model.") and value.is_floating_point():
            data["model"][name] = value + 0.1 * torch.randn(value.shape)
    return data


def test_a_random_clip_becomes_that_of_the_file_and_stays_it(make, tmp_path):
    source, target = on_random_clip(make), on_random_clip(make)
    data, before = other_clip(source), target.rows()[0]
    load_published(target, data, "x.pth")
    text = {n: v for n, v in data["model"].items() if n.startswith("backbone.clip_model.")}
    source.clip.model.load_state_dict({n.split(".", 2)[2]: v for n, v in text.items()})
    source.clip.renew_identity("x.pth")
    expected = source.rows()[0]
    assert not torch.equal(before, expected) and torch.equal(target.rows()[0][:-1], expected[:-1])
    assert target.clip.identity.text_fingerprint == source.clip.identity.text_fingerprint

    OVSCheckpointer(target, str(tmp_path)).save("model_final")
    again = on_random_clip(make)
    OVSCheckpointer(again).load(str(tmp_path / "model_final.pth"))
    assert again.clip.identity == target.clip.identity
    assert torch.equal(again.rows()[0], target.rows()[0])
    state = again.state_dict()
    assert all(torch.equal(state[n], value) for n, value in target.state_dict().items())


def test_a_checkpoint_on_the_config_s_clip_does_not_carry_it(make, tmp_path):
    model = make("fcclip")
    state = {published_name(n): v.clone() for n, v in model.state_dict().items()}
    load_published(model, {"model": state}, "x.pth")
    OVSCheckpointer(model, str(tmp_path)).save("model_final")
    kept = read_checkpoint(tmp_path / "model_final.pth")["model"]
    assert not any(n.startswith("clip.") for n in kept)


@pytest.mark.parametrize("with_teacher", [True, False])
def test_the_teacher_of_a_file_with_its_own_clip_is_the_file_s(with_teacher, tmp_path):
    options = ["MODEL.CLIP.PRETRAINED", "random", "MODEL.WEIGHTS", str(tmp_path / "maft.pth")]
    cfg = load_cfg(find_config("maftplus/tiny"), options)
    plain = load_cfg(find_config("maftplus/tiny"), options[:2])
    data = other_clip(build_segmenter(plain))
    data["model"].pop("criterion.empty_weight")
    teacher = {n: v for n, v in data["model"].items() if n.startswith("backbone_t.")}
    for name in teacher:
        data["model"].pop(name)
        if with_teacher:
            data["model"][name] = teacher[name] + 0.5
    torch.save(data, tmp_path / "maft.pth")
    model = build_segmenter(cfg)
    if not with_teacher:
        with pytest.raises(UserError, match=r"maft\.pth: .*original CLIP.*MODEL\.CLIP\.PRETRAINED"):
            model.teacher  # noqa: B018
        return
    for name, value in model.teacher.visual.state_dict().items():
        assert torch.equal(value, teacher[f"backbone_t.clip_model.visual.{name}"] + 0.5), name


@pytest.mark.parametrize("name", ["tiny", "tiny_fcclip"])
def test_words_are_read_by_the_clip_of_a_published_file(name, tmp_path):
    options = ["MODEL.CLIP.PRETRAINED", "random"]
    source = build_segmenter(load_cfg(find_config(f"maftplus/{name}"), options))
    data = other_clip(source)
    data["model"].pop("criterion.empty_weight")
    torch.save(data, tmp_path / "published.pth")
    predictor = Predictor.from_config(
        f"maftplus/{name}", weights=str(tmp_path / "published.pth"), device="cpu", options=options
    )
    result = predictor(np.full((64, 96, 3), 90, np.uint8), "sky, a brick wall")
    assert result.names == ["sky", "a brick wall"]
    prefix = "backbone.clip_model."
    stated = {n.removeprefix(prefix): t for n, t in data["model"].items() if n.startswith(prefix)}
    identity = predictor.model.clip.identity
    assert identity.text_fingerprint == fingerprint(
        {n: t for n, t in stated.items() if not n.startswith(("visual.", "logit_"))}
    )
    assert identity.text_fingerprint != source.clip.identity.text_fingerprint


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
            "decoder": build_query_decoder(cfg, dim),
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
    stated = {translate(name, RULES): list(shape) for name, shape in published_shapes.items()}
    assert true_parts(config) == stated
