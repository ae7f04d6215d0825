import open_clip
import torch
from torch.nn import functional as F

from cliptrase import CLIPtrase
from cliptrase.regions import RegionRule
from cliptrase.views import View
from ovs_core.clip import CLIP

WORDS = "cat, dog, tree, sky, wall"


def build_clip(layers=4, seed=0, patch=8):
    """A small CLIP whose words become tokens by their letters."""
    torch.manual_seed(seed)
    model = open_clip.CLIP(
        embed_dim=24,
        vision_cfg={"layers": layers, "width": 32, "head_width": 8, "patch_size": patch,
                    "image_size": 56},
        text_cfg={"context_length": 12, "vocab_size": 60, "width": 32, "heads": 2, "layers": 1},
        quick_gelu=True,
    )  # fmt: skip
    for name, parameter in model.named_parameters():
        if "bias" in name:  # zero by default, which would hide mistakes
            torch.nn.init.normal_(parameter, std=0.1)
    model.eval().requires_grad_(False)
    return CLIP(model, tokenize, architecture="tiny", pretrained="random")


def tokenize(prompts):
    rows = torch.zeros(len(prompts), 12, dtype=torch.long)
    for row, prompt in zip(rows, prompts, strict=True):
        ids = [58, *(ord(c) % 50 + 1 for c in prompt.replace(" ", "")[-9:]), 59]
        row[: len(ids)] = torch.tensor(ids)
    return rows


def build_model(clip=None, words=WORDS, **arguments):
    arguments.setdefault("view", View("fullres", 56))
    arguments.setdefault("regions", RegionRule(0.5, 3))
    model = CLIPtrase(clip=clip or build_clip(), templates=["a {}"], **arguments).eval()
    model.text_embedder.folder = None
    model.set_vocabulary(words)
    return model


def blocky_picture(height=70, width=100, seed=0):
    """Flat areas with a little noise, so that patches form clusters."""
    generator = torch.Generator().manual_seed(seed)
    areas = torch.rand(1, 3, 2, 3, generator=generator) * 255
    flat = F.interpolate(areas, size=(height, width))[0]
    noise = 4 * torch.randn(3, height, width, generator=generator)
    return (flat + noise).clamp(0, 255).byte()
