"""A CLIP of random weights, whose words become tokens by their letters."""

import open_clip
import torch

from ovs_core.clip import CLIP

LENGTH = 12  # tokens


def random_clip(*, embed_dim, vision, text_layers, seed=0):
    """Build one with the image tower of open_clip's ``vision_cfg``; no bias of it is zero."""
    torch.manual_seed(seed)
    text = {"context_length": LENGTH, "vocab_size": 60, "width": 32, "heads": 2}
    model = open_clip.CLIP(embed_dim, vision, {**text, "layers": text_layers}, quick_gelu=True)
    for name, parameter in model.named_parameters():
        if "bias" in name:  # zero by default, which would hide mistakes
            torch.nn.init.normal_(parameter, std=0.1)
    model.eval().requires_grad_(False)
    return CLIP(model, tokenize, architecture="tiny", pretrained="random")


def tokenize(prompts):
    rows = torch.zeros(len(prompts), LENGTH, dtype=torch.long)
    for row, prompt in zip(rows, prompts, strict=True):
        ids = [58, *(ord(c) % 50 + 1 for c in prompt.replace(" ", "")[-9:]), 59]
        row[: len(ids)] = torch.tensor(ids)
    return rows
