"""CLIPs of random weights with a small tower of each family that people use."""

import json
from functools import partial

import torch
from timm.models import generate_default_cfgs, register_model
from timm.models.eva import Eva, _create_eva
from timm.models.eva import _cfg as eva_cfg
from timm.models.vision_transformer import VisionTransformer, _cfg, _create_vision_transformer
from torch import nn

from ovs_core.clip import load_clip

SMALL = {"embed_dim": 32, "depth": 4, "num_heads": 4, "img_size": 32, "patch_size": 8}
EVA02 = {"qkv_fused": False, "swiglu_mlp": True, "scale_mlp": True, "scale_attn_inner": True,
         "use_rot_pos_emb": True, "ref_feat_shape": (8, 8)}  # fmt: skip
PE = {"attn_type": "rope", "use_pre_transformer_norm": True, "use_rot_pos_emb": True,
      "ref_feat_shape": (4, 4), "rope_grid_offset": 1.0, "rope_grid_indexing": "xy",
      "attn_pool_num_heads": 2, "attn_pool_mlp_ratio": 4.0,
      "norm_layer": partial(nn.LayerNorm, eps=1e-5)}  # fmt: skip
NAMES = (
    "mini_eva01",
    "mini_eva02",
    "mini_eva02_e",
    "mini_pe_core",
    "mini_pe_core_g",
    "mini_siglip",
)
default_cfgs = generate_default_cfgs(
    {f"{name}.untrained": (_cfg if name == "mini_siglip" else eva_cfg)() for name in NAMES}
)


def _eva(name: str, own, given) -> Eva:
    return _create_eva(name, pretrained=False, **{**SMALL, **own, **given})


@register_model
def mini_eva01(pretrained: bool = False, **kwargs) -> Eva:
    return _eva("mini_eva01", {}, kwargs)


@register_model
def mini_eva02(pretrained: bool = False, **kwargs) -> Eva:
    return _eva("mini_eva02", EVA02, kwargs)


@register_model
def mini_eva02_e(pretrained: bool = False, **kwargs) -> Eva:
    return _eva("mini_eva02_e", {"use_post_norm": True}, kwargs)


@register_model
def mini_pe_core(pretrained: bool = False, **kwargs) -> Eva:
    return _eva("mini_pe_core", PE, kwargs)


@register_model
def mini_pe_core_g(pretrained: bool = False, **kwargs) -> Eva:
    return _eva("mini_pe_core_g", {**PE, "class_token": False}, kwargs)


@register_model
def mini_siglip(pretrained: bool = False, **kwargs) -> VisionTransformer:
    return _create_vision_transformer(
        "mini_siglip", pretrained=False, **{**SMALL, "class_token": False, **kwargs}
    )


OWN = {"image_size": 32, "layers": 4, "width": 32, "head_width": 8, "patch_size": 8}


def _timm(name, pool, proj=None):
    return {"image_size": 32, "timm_model_name": name, "timm_pool": pool, "timm_proj": proj}


# Family -> open_clip's vision_cfg, width of the joint space, and whether GELU is the quick one.
FAMILIES = {
    "OpenAI, MetaCLIP, DFN": (OWN, 16, True),
    "LAION, DataComp; L/14, H/14": (
        {**OWN, "width": 40, "head_width": 20, "patch_size": 7, "image_size": 28}, 16, False
    ),
    "EVA-01": (_timm("mini_eva01", "token"), 16, False),
    "EVA-02": (_timm("mini_eva02", "token"), 16, False),
    "EVA-02 E": (_timm("mini_eva02_e", "token"), 16, False),
    "CLIPA": (
        {**OWN, "no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True}, 16, False
    ),
    "SigLIP, SigLIP2": (_timm("mini_siglip", "map", "none"), 32, False),
    "PE-Core": (_timm("mini_pe_core", "map"), 16, False),
    "PE-Core G": (_timm("mini_pe_core_g", "map"), 16, False),
    "CoCa": ({**OWN, "attentional_pool": True, "attn_pooler_heads": 4}, 16, False),
    "ConvNeXt": (_timm("test_convnext", "", "linear"), 16, False),
    "ResNet": ({"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8,
                "patch_size": None}, 16, False),
}  # fmt: skip


def family_config(family, folder):
    """Write a family's open_clip configuration; gives its path."""
    vision, width, quick = FAMILIES[family]
    config = {
        "embed_dim": width,
        "quick_gelu": quick,
        "custom_text": "timm_model_name" in vision,
        "vision_cfg": vision,
        "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 24, "heads": 3,
                     "layers": 1},
    }  # fmt: skip
    path = folder / f"{''.join(c if c.isalnum() else '_' for c in family)}.json"
    path.write_text(json.dumps(config))
    return str(path)


def family_clip(family, folder):
    """Load a family's CLIP; none of its parameters is zero or so small that it hides a mistake."""
    clip = load_clip(family_config(family, folder), "random")
    torch.manual_seed(1)
    for parameter in clip.model.visual.parameters():
        if parameter.dim() < 2 or parameter.abs().max() < 0.1:
            parameter.data = parameter.data + 0.2 * torch.randn_like(parameter)
    return clip
