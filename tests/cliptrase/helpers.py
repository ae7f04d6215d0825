import torch
from torch.nn import functional as F

from cliptrase import CLIPtrase
from cliptrase.regions import RegionRule
from cliptrase.views import View
from tests.miniatures.clips import random_clip

WORDS = "cat, dog, tree, sky, wall"


def build_clip(layers=4, seed=0, patch=8):
    vision = {
        "layers": layers,
        "width": 32,
        "head_width": 8,
        "patch_size": patch,
        "image_size": 56,
    }
    return random_clip(embed_dim=24, vision=vision, text_layers=1, seed=seed)


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
