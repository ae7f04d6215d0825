"""Models of published sizes, built without memory, and what they count."""

import open_clip
import pytest
import torch
from torch import nn

from hclip import HCLIP, CATSeg
from hclip.build import aggregation_settings, build_parts, finetune_settings
from hclip.counts import parameter_table
from ovs_core.engine.config import load_cfg
from ovs_core.errors import UserError
from ovs_core.methods.projects import config_dir
from ovs_core.modeling.checkpoint import trained_state

CONFIGS = config_dir("hclip")
ROWS = sorted(p.relative_to(CONFIGS).as_posix() for p in CONFIGS.rglob("vit*.yaml"))
ROWS += ["catseg_vitb16.yaml", "catseg_vitl14_336.yaml"]


class MetaCLIP(nn.Module):
    """What a CLIP offers to build a model on, with shapes alone."""

    def __init__(self, architecture):
        super().__init__()
        self.model = open_clip.CLIP(**open_clip.get_model_config(architecture))
        self.model.requires_grad_(False)
        self.architecture, self.pretrained, self.tokenizer = architecture, "none", None
        self.register_buffer("pixel_mean", torch.zeros(3, 1, 1), persistent=False)
        self.embed_dim = self.model.visual.output_dim

    @property
    def visual(self):
        return self.model.visual


def build(config, *options):
    cfg = load_cfg(CONFIGS / config, list(options))
    node = cfg.MODEL.CATSEG
    cls = {"HCLIP": HCLIP, "CATSeg": CATSeg}[cfg.MODEL.META_ARCHITECTURE]
    with torch.device("meta"):
        clip, templates = MetaCLIP(cfg.MODEL.CLIP.ARCHITECTURE), cfg.MODEL.OVS.TEMPLATES
        parts = build_parts(
            clip,
            finetune=finetune_settings(cfg),
            aggregation=aggregation_settings(cfg),
            prompts=len(templates),
        )
        return cls(
            clip=clip, templates=templates, image_size=node.IMAGE_SIZE,
            guidance_layers=node.GUIDANCE_LAYERS, **parts,
        )  # fmt: skip


@pytest.mark.parametrize("config", ROWS)
def test_every_row_of_the_tables_builds(config):
    assert trained_state(build(config))


@pytest.mark.parametrize(
    ("architecture", "size", "guidance", "slots", "rows"),
    [
        ("ViT-B-32-quickgelu", 384, [3, 7], (4, 6), 48),
        ("ViT-B-16-quickgelu", 384, [3, 7], (4, 6), 48),
        ("ViT-L-14-quickgelu", 336, [7, 15], (6, 8), 96),
        ("ViT-L-14-336-quickgelu", 336, [7, 15], (6, 8), 96),
        ("ViT-H-14", 336, [10, 20], (8, 10), 128),
    ],
)
def test_every_clip_builds(architecture, size, guidance, slots, rows):
    options = ["MODEL.CLIP.ARCHITECTURE", architecture, "MODEL.CATSEG.IMAGE_SIZE", str(size),
               "MODEL.CATSEG.GUIDANCE_LAYERS", str(guidance)]  # fmt: skip
    pop = build("vitb16.yaml", *options).adaptation.pop
    assert pop.counts == slots
    assert pop.blocks.shape == (128, 128, rows, sum(slots))


@pytest.mark.parametrize(
    ("config", "trained", "whole"),
    [
        ("vitb16.yaml", 12_536_465, 162_157_202),
        ("catseg_vitb16.yaml", 25_115_873, 154_289_378),
        ("catseg_vitl14_336.yaml", 70_270_177, 433_726_946),
    ],
)
def test_counts_of_the_released_models(config, trained, whole):
    table = dict(parameter_table(build(config)))
    assert table["trained in all"] == trained
    # The originals of CAT-Seg's trained rows stay, frozen, behind their parametrization.
    originals = table["trained on CLIP's side"] if config.startswith("catseg") else 0
    assert table["whole model"] - originals == whole


def test_a_checkpoint_of_vitb16_is_fifty_megabytes():
    state = trained_state(build("vitb16.yaml"))
    assert sum(t.numel() * t.element_size() for t in state.values()) == 4 * 12_536_465
    shared = [name for name, t in state.items() if t.shape == (128, 128, 48, 10)]
    assert shared == ["adaptation.pop.blocks"]


def test_towers_of_different_depth_need_a_pairing():
    with pytest.raises(UserError, match="12 and 24 blocks; choose index or stride"):
        build("vitl14.yaml", "MODEL.HCLIP.DEPTH_PAIRING", "same")
    assert build("vitl14.yaml").adaptation.pop.settings.pairing == "index"
