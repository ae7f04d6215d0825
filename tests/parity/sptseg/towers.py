"""Image tower, spectral filter, text tower and prompts."""

from __future__ import annotations

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ovs_core.clip import TextEncoder
from ovs_core.words.class_lists import load_class_list, load_templates
from ovs_core.words.vocabulary import Vocabulary
from sptseg.prompts import PromptedEncoder
from sptseg.spectral import SpectralFilter

from ..runner import Arrays, ParityCase, Tolerance, parity_runner
from .common import (
    Holder,
    Results,
    gradients,
    is_spectral,
    load,
    make_clip,
    make_encoder,
    make_tower,
    runner,
)


@runner("spectral_filter", methods=("sptseg",))
def run_spectral_filter(case: ParityCase) -> Results:
    """One filter on given tokens."""
    x, grid = case.tensors(), (case.config["grid"],) * 2
    spectral = SpectralFilter(grid, case.config["width"])
    spectral.load_state_dict({"weight": case.tensors("weights")["complex_weight"]})
    tokens, cls = x["tokens"].requires_grad_(), x["cls"].requires_grad_()
    prompt = spectral(tokens, cls, grid)
    (prompt * x["r"]).sum().backward()
    return {
        "spectral_prompt": prompt,
        "grad/tokens": tokens.grad,
        "grad/cls": cls.grad,
        "grad/complex_weight": spectral.weight.grad,
    }


@runner("image_encoder", "plain_image_encoder")
def run_image_encoder(case: ParityCase) -> Results:
    """The prompted tower, block by block."""
    c = case.config["vit"]
    case.require("config.vit.out_indices", [c["layers"] - 1])
    if "prompt_dim" in c:
        case.require("config.vit.prompt_dim", c["width"])
    tower = make_tower(
        c["input_resolution"], c["patch_size"], c["width"], c["layers"], c["heads"], c["output_dim"]
    )
    encoder = make_encoder(
        tower,
        c["input_resolution"],
        tokens=c.get("num_tokens", 0),
        depth=c.get("total_d_layer", 0),
        spectral=is_spectral(case),
    )
    holder = Holder(encoder=encoder)
    published = {f"backbone.{name}": w for name, w in case.tensors("weights").items()}
    load(holder, published)
    found, x = _record(encoder), case.tensors()
    cls, patches = encoder(x["img"])
    if "r_cls" in x:
        ((cls * x["r_cls"]).sum() + (patches * x["r_visual"]).sum()).backward()
    named = {k.removeprefix("backbone."): g for k, g in gradients(holder, published)}
    return {**found, "cls": cls, "visual": patches, **{f"grad/{k}": g for k, g in named.items()}}


@runner("text_encoder")
def run_text_encoder(case: ParityCase) -> Results:
    """The text tower on given token ids."""
    c = case.config["text"]
    text = {
        "context_length": c["context_length"],
        "vocab_size": c["vocab_size"],
        "width": c["transformer_width"],
        "heads": c["transformer_heads"],
        "layers": c["transformer_layers"],
    }
    dim = c["embed_dim"]
    clip = make_clip(make_tower(8, 8, 64, 1, 1, dim), dim, text)
    load(Holder(clip=clip), {f"text_encoder.{k}": w for k, w in case.tensors("weights").items()})
    tokens = case.tensors()["tokens"].long()
    with torch.no_grad():
        features = TextEncoder(clip)(tokens)
        found = _record_blocks(clip.model.transformer.resblocks)
        clip.model.encode_text(tokens)  # the whole length; TextEncoder ends at the last end token
    out = {k: v for k, v in found.items() if k.endswith("_out")}
    return {**out, "features": features, "normalised": F.normalize(features, dim=-1)}


@runner("prompt_tokens", methods=("zegclip",))
def run_prompt_tokens(case: ParityCase) -> Results:
    """Token ids of the published templates on the shipped class lists."""
    tokenize = open_clip.get_tokenizer("ViT-B-16-quickgelu")
    voc, coco = (load_class_list(n).names for n in ("pascal_voc_20", "coco_stuff_171"))
    case.require("voc_classes", list(voc))
    case.require("coco_classes", list(coco))
    case.require("single_template", *load_templates("zegclip_single"))
    case.require("multi_templates", list(load_templates("zegclip_15")))
    chosen = {
        "voc_single": (voc, "zegclip_single"),
        "coco_single": (coco, "zegclip_single"),
        "coco_multi_some": ([coco[i] for i in case.meta["coco_multi_some_classes"]], "zegclip_15"),
    }
    out = {}
    for key, (names, templates) in chosen.items():
        ids = tokenize(Vocabulary.from_names(names).prompts(load_templates(templates)))
        out[key] = ids[:, : int((ids != 0).sum(dim=1).max())].int()
    return out


def _needs_weights(case: ParityCase, name: str, references: Arrays) -> Tolerance:
    return Tolerance(skip="skipped: needs the real CLIP ViT-B/16 weights, which the file lacks")


@parity_runner(
    "zegclip",
    "text_cosines",
    tolerance=_needs_weights,
    unused={"config": "sentences about the arrays"},
)
def run_text_cosines(case: ParityCase) -> Results:
    """Nothing: these cosines follow from the real CLIP weights, not from the file."""
    return {}


def _record(encoder: PromptedEncoder) -> Results:
    """A dict that the next forward fills with block inputs and outputs and spectral prompts."""
    found = _record_blocks(encoder.encoder.visual.transformer.resblocks)
    layers = iter(encoder.spectral_layers)

    def keep(module: nn.Module, args: tuple, output: Tensor) -> None:
        found[f"spectral_prompt{next(layers)}"] = output

    for spectral in encoder.filters:
        spectral.register_forward_hook(keep)
    return found


def _record_blocks(blocks: nn.ModuleList) -> Results:
    found: Results = {}

    def recorder(index: int):
        def keep(module: nn.Module, args: tuple, output: Tensor) -> None:
            found[f"block{index}_in"], found[f"block{index}_out"] = args[0], output

        return keep

    for index, block in enumerate(blocks):
        block.register_forward_hook(recorder(index))
    return found
