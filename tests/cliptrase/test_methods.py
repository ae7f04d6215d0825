"""Methods by name: each is what its parts make by hand; a new one is one file and one config."""

import pytest
import torch

from cliptrase import CLIPtrase
from cliptrase.maskclip import MaskClipTower
from cliptrase.methods import find_method, registry
from cliptrase.scoring import CosineScorer, MaskClipScorer
from cliptrase.surgery import SurgeryScorer, SurgeryTower
from cliptrase.tower import RecoveryTower, TowerRule
from cliptrase.views import View
from ovs_core.clip import PositionRule
from ovs_core.engine.config import load_cfg
from ovs_core.errors import UserError
from ovs_core.methods import ranges
from ovs_core.methods.configs import find_config
from ovs_core.methods.projects import config_dir
from tests.cliptrase.helpers import blocky_picture
from tests.documents.reading import blocks

WORDS = "cat|kitten, dog, tree, sky, wall"
SLIDE = [
    "MODEL.CLIPTRASE.PROTOCOL", "ovs",
    "MODEL.OVS.PROTOCOL.NAME", "slide",
    "MODEL.OVS.PROTOCOL.WINDOW", "64",
    "MODEL.OVS.PROTOCOL.STRIDE", "32",
]  # fmt: skip


def built(config, *options):
    cfg = load_cfg(find_config(f"cliptrase/{config}"), ["MODEL.DEVICE", "cpu", *options])
    model = CLIPtrase(cfg).eval()
    model.set_vocabulary(WORDS)
    return model


def scores(model):
    picture = blocky_picture(70, 100)
    with torch.no_grad():
        return model.segment(picture, (70, 100))


def by_hand(clip, templates):
    """The parts of each method as they were before methods had names in a registry."""
    positions = PositionRule(offset=0.1)
    plain = TowerRule("vanilla", corr_layer=None, positions=positions)
    csa = TowerRule("csa", corr_layer=None, positions=positions)
    cosines = CosineScorer(clip.logit_scale)
    return {
        "tiny_clip": (RecoveryTower(clip.visual, plain), cosines),
        "tiny_sclip": (RecoveryTower(clip.visual, csa), cosines),
        "tiny_scr": (RecoveryTower(clip.visual, TowerRule(corr_layer=None)), cosines),
        "tiny_maskclip": (MaskClipTower(clip.visual), MaskClipScorer()),
        "tiny_surgery": (SurgeryTower(clip.visual), SurgeryScorer()),
    }


@pytest.mark.parametrize(
    "config", ["tiny_clip", "tiny_sclip", "tiny_scr", "tiny_maskclip", "tiny_surgery"]
)
def test_a_method_is_its_parts_to_the_last_digit(config):
    model = built(config)
    tower, scorer = by_hand(model.clip, model.templates)[config]
    hand = CLIPtrase(
        clip=model.clip, templates=model.templates, tower=tower, scorer=scorer,
        view=View("fullres", 128),
    ).eval()  # fmt: skip
    hand.set_vocabulary(WORDS)
    assert torch.equal(scores(model).full(), scores(hand).full())


def test_the_last_steps_of_any_method_are_those_of_sclip():
    steps = ["PROB_THD", "0.3", "AREA_THD", "0.05", "PAMR_STEPS", "2", "SCALE", "30.0"]

    def options(group, switch):
        pairs = [f"MODEL.CLIPTRASE.{group}.{s}" if i % 2 == 0 else s for i, s in enumerate(steps)]
        return [*SLIDE, f"MODEL.CLIPTRASE.{group}.{switch}", "True", *pairs]

    old = scores(built("tiny_sclip", *options("SCLIP", "OWN_PROTOCOL")))
    new = scores(built("tiny_sclip", *options("LAST_STEPS", "ENABLED")))
    assert torch.equal(old.full(), new.full()) and torch.equal(old.labels(), new.labels())
    plain = scores(built("tiny_clip", *options("LAST_STEPS", "ENABLED")))
    assert plain.full().shape == (5, 70, 100)
    assert not torch.equal(plain.full(), new.full())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["METHOD", "maskclop"], "Did you mean 'maskclip'"),
        (["METHOD", "clip", "LAST_STEPS.ENABLED", "True"], "LAST_STEPS needs PROTOCOL ovs"),
    ],
)
def test_wrong_values_are_named(options, message):
    with pytest.raises(UserError, match=message):
        keys = [f"MODEL.CLIPTRASE.{o}" if i % 2 == 0 else o for i, o in enumerate(options)]
        built("tiny", *keys)


def test_a_rule_is_one_file_and_one_config(monkeypatch, tmp_path):
    """The example of CONTRIBUTING.md, with nothing else edited."""
    written = {b.file: b.text for b in blocks("CONTRIBUTING.md") if b.file.startswith("cliptrase/")}
    (rule, code), (config, text) = written.items()
    assert rule.startswith("cliptrase/methods/") and config.startswith("cliptrase/configs/tiny")
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))
    monkeypatch.setattr(ranges, "_DECLARED", dict(ranges._DECLARED))
    exec(compile(code, rule, "exec"), {"__name__": "example", "__package__": "cliptrase.methods"})
    base = f"{config_dir('cliptrase')}/tiny.yaml"
    file = tmp_path / "tiny_rule.yaml"
    file.write_text(text.replace("tiny.yaml", base))
    # The config language takes bases in the suite by their whole path, too.
    cfg = load_cfg(file, ["MODEL.DEVICE", "cpu"])
    assert find_method(cfg.MODEL.CLIPTRASE.METHOD).__name__ == "keycosine"
    model = CLIPtrase(cfg).eval()
    model.set_vocabulary(WORDS)
    assert scores(model).labels().shape == (70, 100)
