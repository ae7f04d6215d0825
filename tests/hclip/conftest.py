from types import SimpleNamespace

import pytest
import torch

from hclip import CATSeg, FinetuneSettings, POPSettings
from hclip.build import build_parts
from ovs_core.data.embedded.dataset import SPLITS, SplitSpec
from ovs_core.modeling.cost_aggregation import AggregationSettings
from ovs_core.words.label_space import IGNORE
from tests.miniatures.clips import random_clip

WORDS = ["cat", "dog", "tree", "sky", "wall"]


def build_clip(text_layers=2, image_layers=3, seed=0):
    """A CLIP of towers with different depth and width."""
    vision = {
        "layers": image_layers,
        "width": 48,
        "head_width": 16,
        "patch_size": 4,
        "image_size": 16,
    }
    return random_clip(embed_dim=32, vision=vision, text_layers=text_layers, seed=seed)


def small_decoder(**changes):
    return AggregationSettings(**{
        "hidden_dim": 32, "num_layers": 2, "num_heads": 2, "window": 3, "max_classes": 8,
        "text_guidance_dim": 16, "appearance_guidance_dim": 16, "decoder_dims": (32, 16),
        "decoder_guidance_dims": (24, 12), "decoder_guidance_proj_dims": (8, 8), **changes,
    })  # fmt: skip


def finetune_settings(mode="hclip", pop=None):
    return FinetuneSettings(
        mode=mode, pop=pop or POPSettings(block_size=8), lora_rank=4, adapter_width=8,
        prompt_length=2, lst_widths=(16, 8),
    )  # fmt: skip


def build_model(mode="hclip", *, clip=None, pop=None, decoder=None, cls=CATSeg, **arguments):
    torch.manual_seed(1)
    finetune = finetune_settings(mode, pop)
    clip = clip or build_clip()
    parts = build_parts(clip, finetune=finetune, aggregation=decoder or small_decoder(), prompts=1)
    model = cls(
        clip=clip, templates=["a {}"], image_size=24, guidance_layers=(0, 1), size_divisor=4,
        **parts, **arguments,
    )  # fmt: skip
    model.set_vocabulary(WORDS)
    return model


def perturb(model, scale=0.1, seed=3):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += scale * torch.randn(parameter.shape, generator=generator)
    return model


def batch(count=2, classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 24, 24), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, classes, (count, 24, 24), generator=generator)
    labels[:, :3] = IGNORE
    return [{"image": i, "sem_seg": t} for i, t in zip(images, labels, strict=True)]


@pytest.fixture
def small_world(tmp_path, monkeypatch):
    """A smaller embedded world in a cache of its own."""

    def make(train, val):
        monkeypatch.setenv("OVSUITE_CACHE", str(tmp_path / "cache"))
        for split, count, seed in (("train", train, 0), ("val", val, 1_000_000)):
            monkeypatch.setitem(SPLITS, split, SplitSpec(count, seed, ((96, 128), (112, 96))))

    return make


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def images():
    return torch.rand(2, 3, 24, 24) * 2 - 1


@pytest.fixture(scope="session")
def tiny():
    """The helpers above; test files cannot import them, because test folders are no packages."""
    return SimpleNamespace(
        words=WORDS, clip=build_clip, decoder=small_decoder, finetune=finetune_settings,
        model=build_model, perturb=perturb, batch=batch,
    )  # fmt: skip
