"""Reference vectors of CLIPtrase and its baselines: which code serves which kind."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ovs_core.clip import CLIP, ImageEncoder, PositionRule, TextEmbedder, TextEncoder, load_clip
from ovs_core.clip.attention import project_qkv
from ovs_core.clip.loading import build_tokenizer, model_config
from ovs_core.modeling.scores import GridScores
from ovs_core.parity import Arrays, ParityCase, Tolerance, parity_runner
from ovs_core.vocabulary import Vocabulary

from .attention import attend
from .correlation import correlation, denoise
from .masks import median_filter, prototypes, smooth_maps
from .model import CLIPtrase
from .preprocess import crop_labels, square_crop
from .regions import RegionRule, cluster
from .tower import TowerRule
from .views import View
from .voting import majority_vote

Results = dict[str, "np.ndarray | Tensor"]
POSITIONS = PositionRule(offset=0.1, keep_same_count=True)
TINY_VISUAL = {
    "input_resolution": 16,
    "patch_size": 16,
    "width": 16,
    "layers": 2,
    "heads": 2,
    "output_dim": 8,
}
TINY_TEXT = {"context_length": 8, "vocab_size": 16, "width": 16, "heads": 2, "layers": 1}


def tolerance(case: ParityCase, name: str, references: Arrays) -> Tolerance:
    """Floats within 2e-5 + 1e-4 relative; label maps exact wherever the file calls a pixel safe."""
    if name.rpartition(".")[2] == "safe":
        return Tolerance(skip="says which pixels of other arrays are compared")
    if not np.issubdtype(references[name].dtype, np.inexact):
        prefix = name.rpartition(".")[0]
        safe = references.get(f"{prefix}.safe")
        if safe is not None and safe.shape == references[name].shape and safe.dtype == bool:
            return Tolerance(where=safe)
        return Tolerance()
    return Tolerance(atol=2e-5, rtol=1e-4)


def tiny_clip(model: dict[str, Any], weights: dict[str, Tensor], **text: Any) -> CLIP:
    """Build a CLIP around the tower of a reference file.

    Args:
        model: ``input_resolution``, ``patch_size``, ``width``, ``layers``, ``heads``,
            ``output_dim``.
        weights: state dict of the parts that the file holds.
        text: entries of open_clip's ``text_cfg``.
    """
    config = {
        "embed_dim": model["output_dim"],
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": model["input_resolution"],
            "patch_size": model["patch_size"],
            "width": model["width"],
            "layers": model["layers"],
            "head_width": model["width"] // model["heads"],
        },
        "text_cfg": {**TINY_TEXT, **text},
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.json"
        path.write_text(json.dumps(config))
        clip = load_clip(str(path), "random")
    _, unexpected = clip.model.load_state_dict(weights, strict=False)
    if unexpected:
        raise ValueError(f"weights that the tower does not have: {unexpected}")
    return clip


def segmenter(
    case: ParityCase, text_features: Tensor, *, num_background: int = 0, **arguments: Any
) -> CLIPtrase:
    """Build the model of a reference file with given text features."""
    clip = tiny_clip(case.meta["model"], case.tensors("weights"))
    model = CLIPtrase(clip=clip, templates=["{}"], **arguments).eval()
    named = len(text_features) - num_background
    words = [f"word {i}" for i in range(num_background)]
    model.set_vocabulary(
        Vocabulary.from_names([f"class {i}" for i in range(named)], background_words=words)
    )
    model.text_features = lambda: text_features  # type: ignore[method-assign]
    if "logit_scale_log" in case.meta:
        model.logit_scale = float(np.exp(case.meta["logit_scale_log"]))
    return model


@parity_runner("cliptrase", "encoder", tolerance=tolerance)
@torch.no_grad()
def run_encoder(case: ParityCase) -> Results:
    """Tokens with and without recovery, and what the blocks compute on the way."""
    clip = tiny_clip(case.meta["model"], case.tensors("weights"))
    out: Results = {}
    for name, images in case.tensors().items():
        recovered = _walk(clip, images, "softmax_sum")
        vanilla = _walk(clip, images, "vanilla")
        out |= {f"{name}.{key}": value for key, value in recovered.items()}
        out[f"{name}.tokens_scr"] = recovered["tokens"]
        out[f"{name}.tokens_vanilla"] = vanilla["tokens"]
        out[f"{name}.attn_vanilla_last"] = vanilla["products"][-1]
        last_two = [recovered["attn_scr_penultimate"], recovered["attn_scr_last"]]
        out[f"{name}.attn_scr_all"] = torch.stack(recovered["products"][:-2] + last_two)
        visual = clip.visual
        grid = ImageEncoder(visual).grid(tuple(images.shape[-2:]))
        out[f"{name}.pos_embed"] = POSITIONS(
            visual.positional_embedding, tuple(visual.grid_size), grid
        )
    return out


def _walk(clip: CLIP, images: Tensor, mode: str) -> dict[str, Any]:
    """Run the product's tower and record the streams of its blocks."""
    found: dict[str, Any] = {"products": []}

    def record(index: int, tokens: Tensor, _: tuple[int, int]) -> Tensor:
        block = clip.visual.transformer.resblocks[index]
        q, k, v = project_qkv(block, tokens)
        found["products"].append(((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).mean(dim=1))
        if index >= depth - 2:
            number = f"block{index + 1}"
            attention = mode if index == depth - 1 else "vanilla"
            found.update({f"{number}_{n}": x for n, x in zip("qkv", (q, k, v), strict=True)})
            found[f"{number}_in"] = tokens
            found[f"{number}_attn_out"] = block.attn.out_proj(attend(q, k, v, attention))
            found["attn_scr_last" if index == depth - 1 else "attn_scr_penultimate"] = correlation(
                q, k, v
            )
        return tokens

    depth = len(clip.visual.transformer.resblocks)
    rule = TowerRule(attention=mode, positions=POSITIONS)
    model = CLIPtrase(clip=clip, templates=["{}"], tower=rule)
    tokens, grid = model.tower.encoder.embed(images)
    model.tower.encoder.run_blocks(tokens, grid, before=record, blocks=model.tower.blocks())
    found["tokens"] = model.encode(images).tokens
    return found


@parity_runner("cliptrase", "cluster", tolerance=tolerance)
def run_cluster(case: ParityCase) -> Results:
    """Denoising to vote on given matrices."""
    out: Results = {}
    inputs = case.tensors()
    for name, setting in case.meta["cases"].items():
        rule = RegionRule(
            eps=setting["eps"],
            min_samples=setting["min"],
            denoise="none" if setting["raw"] else "cls_subtract",
        )
        matrix = denoise(inputs[f"{name}.corr"], rule.denoise)
        labels = cluster(matrix, rule)
        out[f"{name}.denoised"], out[f"{name}.labels"] = matrix, labels
        if labels.max() < 0:
            continue
        rows = prototypes(matrix, labels)
        grid, size = tuple(setting["grid"]), tuple(setting["out"])
        upsampled = smooth_maps(rows, grid, up=rule.up, median=1)
        smoothed = median_filter(upsampled, rule.median)
        masks = GridScores(smoothed, size).labels()
        prediction = inputs[f"{name}.pred"]
        out[f"{name}.prototypes"] = rows
        out[f"{name}.masks_up4"], out[f"{name}.masks_median"] = upsampled, smoothed
        out[f"{name}.mask_index"] = masks
        out[f"{name}.voted"] = majority_vote(
            prediction, masks, num_classes=int(prediction.max()) + 1, num_masks=len(rows)
        )
    return out


@parity_runner("cliptrase", "e2e", tolerance=tolerance)
@torch.no_grad()
def run_e2e(case: ParityCase) -> Results:
    """Pictures and label files to labels and figures, under the stand-alone protocol."""
    meta, inputs = case.meta, case.inputs
    model = segmenter(
        case,
        torch.from_numpy(inputs["text_features"]),
        num_background=meta["background"],
        tower=TowerRule(positions=POSITIONS),
        view=View("standalone", meta["image_size"]),
        regions=RegionRule(meta["eps"], meta["min_samples"]),
        cls_product=meta["dataset"] == "VOC20",
    )
    out: Results = {}
    for index in range(meta["n_images"]):
        truth = crop_labels(inputs[f"gt{index}"], meta["image_size"])
        if (truth == meta["ignore"]).all():
            continue
        crop = square_crop(Image.fromarray(inputs[f"image{index}"]), meta["image_size"])
        picture = torch.from_numpy(np.array(crop)).permute(2, 0, 1)
        out |= {f"{index}.{k}": v for k, v in _picture_results(model, picture).items()}
        if meta["background"]:
            truth = np.where(truth == meta["ignore"], meta["num_classes"], truth)
        out[f"{index}.gt"] = truth
    return out


def _picture_results(model: CLIPtrase, picture: Tensor) -> Results:
    size = tuple(picture.shape[-2:])
    encoded = model.encode_picture(picture)
    dense, regions = encoded.dense, encoded.regions
    assert regions is not None
    rule = model.region_rule
    product, model.cls_product = model.cls_product, False
    logits = model.score(dense)[0]
    model.cls_product = product
    scores = encoded.frame.scores(model.score(dense)[0], size)
    out: Results = {
        "pixels": model.normalize(picture),
        "features_norm": F.normalize(dense.tokens, dim=-1)[0],
        "tokens": dense.tokens[0],
        "corr": dense.correlation[0],
        "denoised": regions.denoised,
        "dbscan_labels": regions.labels,
        "patch_logits": logits,
        "pre_vote": model._fold(scores.labels()),
        "pred": model.score_picture(encoded, size).labels(),
    }
    if regions.count:
        rows = prototypes(regions.denoised, regions.labels)
        out["masks_up4"] = smooth_maps(rows, dense.grid, up=rule.up, median=1)
        out["masks_median"] = regions.maps
        out["mask_index"] = encoded.frame.scores(regions.maps, size).labels()
    return out


@parity_runner("cliptrase", "preprocess", tolerance=tolerance)
def run_preprocess(case: ParityCase) -> Results:
    """Resize, crop and normalise pictures and label maps."""
    clip = tiny_clip(TINY_VISUAL, {})
    out: Results = {}
    for index, side in enumerate(case.meta["sizes"]):
        crop = np.array(square_crop(Image.fromarray(case.inputs[f"image{index}"]), side))
        out[f"{index}.resized_uint8"] = crop
        out[f"{index}.pixels"] = clip.normalize(torch.from_numpy(crop).permute(2, 0, 1))
        out[f"{index}.gt"] = crop_labels(case.inputs[f"gt{index}"], side)
    return out


@parity_runner("cliptrase", "text", tolerance=tolerance)
@torch.no_grad()
def run_text(case: ParityCase) -> Results:
    """Embed prompts and pool them over templates."""
    text = case.meta["text"]
    weights = {k.removeprefix("text."): v for k, v in case.tensors("weights").items()}
    clip = tiny_clip(
        TINY_VISUAL | {"output_dim": text["embed_dim"]},
        weights,
        **{k: text[k] for k in ("context_length", "vocab_size", "width", "heads", "layers")},
    )
    tokens = torch.from_numpy(case.inputs["tokens"])
    names, templates = [str(i) for i in range(len(tokens))], [f"{{}} {i}" for i in range(80)]
    clip.tokenizer = lambda prompts: torch.stack(
        [tokens[int(name), int(template)] for name, template in (p.split() for p in prompts)]
    )
    encoder = TextEncoder(clip)
    raw = torch.stack([encoder(rows) for rows in tokens])
    features = TextEmbedder(encoder, folder="").texts(names, templates)
    return {"raw_embeddings": raw, "features": features, "features_d2": features}


@parity_runner("cliptrase", "tokens", tolerance=tolerance)
def run_tokens(case: ParityCase) -> Results:
    """Token ids of names in templates."""
    architecture = "ViT-B-16-quickgelu"
    tokenizer = build_tokenizer(architecture, model_config(architecture))
    prompts = Vocabulary.from_names(case.meta["names"]).prompts(case.meta["templates"])
    return {"tokens": tokenizer(prompts).int()}


@parity_runner("cliptrase", "plain", tolerance=tolerance)
@torch.no_grad()
def run_plain(case: ParityCase) -> Results:
    """Plain CLIP and SCLIP's attention under the stand-alone protocol."""
    text = torch.from_numpy(case.inputs["text_features"])
    out: Results = {}
    for mode in ("vanilla", "csa"):
        rule = TowerRule(attention=mode, corr_layer=None, positions=POSITIONS)
        model = segmenter(case, text, tower=rule, logit_scale=case.meta["logit_scale"])
        for name in case.meta["images"]:
            images = torch.from_numpy(case.inputs[name])
            dense = model.encode(images)
            logits = model.score(dense)
            maps = [GridScores(x, tuple(images.shape[-2:])).labels() for x in logits]
            out[f"{name}.{mode}.tokens"] = dense.tokens
            out[f"{name}.{mode}.patch_logits"] = logits
            out[f"{name}.{mode}.label_map"] = torch.stack(maps)
    return out
