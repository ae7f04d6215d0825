"""Building models of the sizes that reference files have, and giving them the files' weights."""

from __future__ import annotations

import re
import zlib

import numpy as np
import open_clip
import torch
from torch import Tensor

from hclip.build import build_parts
from hclip.finetune import FinetuneSettings
from hclip.model import HCLIP, CATSeg
from hclip.pop import POPSettings
from hclip.published import CLIP_PREFIX, rename_released
from ovs_core.clip import CLIP, load_clip
from ovs_core.load_report import load_weights
from ovs_core.modeling.checkpoint import trained_state
from ovs_core.modeling.cost_aggregation import AggregationSettings
from ovs_core.modeling.protocols import InferenceProtocol, Slide, Whole

from ..runner import ParityCase

TEMPLATE = "A photo of a {} in the scene"


def tiny_clip(sizes: dict, tokens: Tensor) -> CLIP:
    """Build an open_clip model of a file's sizes whose tokenizer gives the file's tokens."""
    layers = sizes.get("layers", 0)
    model = open_clip.CLIP(
        embed_dim=sizes["embed_dim"],
        vision_cfg={
            "layers": sizes.get("vision_layers", layers),
            "width": sizes["vision_width"],
            "head_width": sizes["head_dim"],
            "patch_size": sizes["patch_size"],
            "image_size": sizes["pretrain_resolution"],
        },
        text_cfg={
            "context_length": sizes["context_length"],
            "vocab_size": sizes["vocab_size"],
            "width": sizes["text_width"],
            "heads": sizes["text_width"] // sizes["head_dim"],
            "layers": sizes.get("text_layers", layers),
        },
        quick_gelu=True,
    )
    model.eval().requires_grad_(False)
    return CLIP(model, lambda prompts: tokens, architecture="reference", pretrained="reference")


def tiny_model(case: ParityCase, mode: str, protocol: InferenceProtocol | None = None) -> CATSeg:
    """Build the model of a complete reference file, with its weights.

    Args:
        case: the file.
        mode: how CLIP trains.
        protocol: how pictures are shown; default whole, as released.
    """
    sizes, settings = case.meta["sizes"], case.meta["aggregator"]
    case.require("sizes.grid", sizes["run_resolution"] // sizes["patch_size"])
    clip = tiny_clip(sizes, torch.from_numpy(case.inputs["tokens"]))
    finetune = FinetuneSettings(
        mode=mode,
        pop=POPSettings(block_size=sizes.get("q", 1)),
        prompt_length=sizes.get("prompt_length") or 1,
        prompt_depth=sizes.get("prompt_depth", 0),
    )
    model = (HCLIP if mode == "hclip" else CATSeg)(
        clip=clip,
        templates=[TEMPLATE],
        **build_parts(clip, finetune=finetune, aggregation=aggregation(settings), prompts=1),
        image_size=sizes["run_resolution"],
        guidance_layers=settings["guidance_layers"],
        protocol=protocol
        or Whole(divisor=case.meta.get("size_divisibility", 32), cut_padding=False),
        output="scores",
    )
    load(model, case.tensors("weights"))
    count = len(case.meta.get("classes", ())) or case.meta["n_classes"]
    model.set_vocabulary([f"class {i}" for i in range(count)])
    return model


def sliding(case: ParityCase) -> Slide:
    """Read the sliding protocol of a file."""
    node = case.meta["sliding"]
    size = tuple(node["out_res"])
    case.require("sliding.stride", round(node["kernel"] * (1 - node["overlap"])))
    return Slide(node["kernel"], node["stride"], size, with_whole=True)


def aggregation(settings: dict) -> AggregationSettings:
    """Bring a file's aggregator settings to ours; its pooling is used for test as well."""
    pooling = tuple(settings["pooling_size"])
    return AggregationSettings(
        hidden_dim=settings["hidden_dim"],
        num_layers=settings["num_layers"],
        num_heads=settings.get("num_heads") or settings["nheads"],
        window=settings["window_size"],
        pooling=pooling,
        pooling_test=pooling,
        attention=settings["attention_type"],
        max_classes=settings["pad_len"],
        text_guidance_dim=settings["text_guidance_proj_dim"],
        appearance_guidance_dim=settings["appearance_guidance_proj_dim"],
        decoder_dims=tuple(settings["decoder_dims"]),
        decoder_guidance_dims=tuple(settings["decoder_guidance_dims"]),
        decoder_guidance_proj_dims=tuple(settings["decoder_guidance_proj_dims"]),
    )


def load(model: CATSeg, weights: dict[str, Tensor]) -> None:
    """Load released names; every tensor of the file must be used, every trained one given.

    Raises:
        UserError: if not.
    """
    load_weights(
        model,
        rename_released(weights, model),
        source="reference file",
        owner=type(model).__name__,
        mend="complete the key map",
        needed=trained_state(model),
        known=model.state_dict(),
    )


def fullsize_model(case: ParityCase, mode: str) -> CATSeg:
    """Build ViT-B/16 with the weights of the file's recipe."""
    clip = load_clip("ViT-B-16-quickgelu", "random")
    pooling = tuple(case.meta["pooling_sizes"])
    settings = AggregationSettings(pooling=pooling, pooling_test=pooling)
    finetune = FinetuneSettings(mode=mode)
    if not case.meta["template"].startswith(TEMPLATE):
        raise ValueError(f"the file's template is {case.meta['template']!r}, not {TEMPLATE!r}")
    model = (HCLIP if mode == "hclip" else CATSeg)(
        clip=clip,
        templates=[TEMPLATE],
        **build_parts(clip, finetune=finetune, aggregation=settings, prompts=1),
        image_size=384,
        output="scores",
    )
    recipe = case.meta["parameters"]
    weights = {n: recipe_weight(n, s, case.meta["salt"]) for n, s in recipe.items()}
    load(model, weights)
    model.eval()
    model.set_vocabulary([name.strip() for name in _first_names(case.meta["classes"])])
    return model


def recipe_weight(name: str, shape: list[int], salt: int) -> Tensor:
    """Make a parameter from its released name, as the file's ``recipe`` says."""
    seed = (zlib.crc32(name.encode()) + salt) % 2**32
    z = np.random.RandomState(seed).standard_normal(shape)
    last = name.rpartition(".")[2]
    if name.endswith("logit_scale"):
        value = np.full(shape, 2.659)
    elif "layer_R" in name:
        value = np.concatenate([z[..., :4] * 0.05, z[..., 4:] * 0.02], axis=-1)
        value[..., 4:] += np.eye(shape[0])[:, :, None, None]
    elif "relation_" in name:
        value = np.eye(shape[0]) + 0.02 * z
    elif "padding_" in name:
        value = 0.1 * z
    elif "embedding" in name:
        value = 0.05 * z
    elif last.endswith("bias"):
        value = 0.02 * z
    elif len(shape) == 1:
        value = 1 + 0.1 * z
    elif last in ("proj", "text_projection"):
        value = z / np.sqrt(shape[0])
    else:
        value = z / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(value, dtype=np.float32))


_SHARED = {
    "layer_R": "blocks",
    "relation_l": "relation.layers",
    "relation_m": "relation.slots",
}


def our_names(case: ParityCase, model: CATSeg) -> dict[str, str]:
    """Released name -> our name of every tensor of the file that a parameter of ours holds."""
    rows = re.compile(r"(.+)\.(q|v)_proj_weight")
    known, found = {n for n, _ in model.named_parameters()}, {}
    for released, tensor in case.tensors("weights").items():
        split = rows.fullmatch(released.removeprefix(CLIP_PREFIX))
        alias = re.search(r"attn_q_proj_oft_(layer_R|relation_l|relation_m)", released)
        plain = not (split or alias)
        shared = rename_released({released: tensor}, model) if plain else {}
        if alias:
            shared = {f"adaptation.pop.{_SHARED[alias[1]]}": tensor}
        if split:
            part = {"q": "query", "v": "value"}[split[2]]
            path = f"clip.model.{split[1]}.parametrizations.in_proj_weight"
            shared = {f"{path}.0.{part}": tensor}
        found |= dict.fromkeys([released] * bool(known & shared.keys()), next(iter(shared), ""))
    return found


def clip_weights(case: ParityCase) -> dict[str, Tensor]:
    """Give an encoder file's weights the prefix that they have in a whole checkpoint."""
    return {CLIP_PREFIX + n: t for n, t in case.tensors("weights").items()}


def _first_names(classes: list[str]) -> list[str]:
    return [name.split(", ")[0] for name in classes]
