"""The kinds of the method itself: tower, clusters, whole pictures, words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from cliptrase.attention import allowed_pairs, attend
from cliptrase.correlation import correlation, denoise, eq7_score
from cliptrase.masks import prototypes, smooth_maps
from cliptrase.median import median_filter
from cliptrase.model import CLIPtrase
from cliptrase.published_metric import published_truth
from cliptrase.regions import RegionRule, cluster
from cliptrase.square_crop import crop_labels, square_crop
from cliptrase.tower import RecoveryTower, TowerRule
from cliptrase.views import View
from cliptrase.voting import majority_vote
from ovs_core.clip import CLIP, ImageEncoder, TextEmbedder, TextEncoder
from ovs_core.clip.architectures import model_config
from ovs_core.clip.attention import project_qkv
from ovs_core.clip.tokenizer import build_tokenizer
from ovs_core.evaluation import count_pairs, smoothed_figures
from ovs_core.modeling.scores import GridScores
from ovs_core.words.vocabulary import Vocabulary

from ..reference_labels import STORED_IGNORE
from ..runner import ParityCase, parity_runner
from .common import POSITIONS, TINY_VISUAL, Results, cosine_scorer, segmenter, tiny_clip, tolerance


@parity_runner("cliptrase", "encoder", tolerance=tolerance)
@torch.no_grad()
def run_encoder(case: ParityCase) -> Results:
    """Tokens with and without recovery, and what the blocks compute on the way."""
    clip = tiny_clip(case.meta["model"], case.tensors("weights"))
    out: Results = {}
    for name in case.meta["images"]:
        images = torch.from_numpy(case.inputs[name])
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
    tower = RecoveryTower(clip.visual, TowerRule(attention=mode, positions=POSITIONS))
    tokens, grid = tower.encoder.embed(images)
    tower.encoder.run_blocks(tokens, grid, before=record, blocks=tower.blocks(grid))
    found["tokens"] = tower(images).tokens
    return found


@parity_runner(
    "cliptrase",
    "cluster",
    tolerance=tolerance,
    unused={"grid": "without a cluster nothing is drawn", "out": "likewise"},
)
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
    clip = tiny_clip(meta["model"], case.tensors("weights"))
    model = segmenter(
        clip,
        torch.from_numpy(inputs["text_features"]),
        num_background=meta["background"],
        tower=RecoveryTower(clip.visual, TowerRule(positions=POSITIONS)),
        scorer=cosine_scorer(case, cls_product=meta["dataset"] == "VOC20"),
        view=View("standalone", meta["image_size"]),
        regions=RegionRule(meta["eps"], meta["min_samples"]),
    )
    out: Results = {}
    pairs, classes = [], meta["num_classes"] + bool(meta["background"])
    for index in range(meta["n_images"]):
        stored = crop_labels(inputs[f"gt{index}"], meta["image_size"])
        truth = published_truth(stored, classes, background=bool(meta["background"]))
        if truth is None:
            continue
        crop = square_crop(Image.fromarray(inputs[f"image{index}"]), meta["image_size"])
        picture = torch.from_numpy(np.array(crop)).permute(2, 0, 1)
        results = _picture_results(model, picture)
        out |= {f"{index}.{k}": v for k, v in results.items()}
        out[f"{index}.gt"] = truth
        pairs.append((results["pred"], truth))
    case.require("ignore", STORED_IGNORE)
    return out | _figures(pairs, classes) | {"meta.n_used": len(pairs)}


def _figures(pairs: list[tuple[Any, Any]], classes: int) -> Results:
    """Figures of the stand-alone script over (prediction, truth) maps, and their counts."""
    counts = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    for prediction, truth in pairs:
        known = np.where((truth >= 0) & (truth < classes), truth, classes)
        maps = (torch.as_tensor(x).long() for x in (prediction, known))
        counts += count_pairs(*maps, classes).numpy()
    smoothed = smoothed_figures(counts)
    rounded = [round(smoothed[key], 2) for key in ("pACC", "mACC", "fwIoU", "mIoU")]
    # The published matrix has the truth in its rows.
    hist = counts[:-1, :-1].T.astype(np.float64)
    return {"metrics": np.array(rounded), "hist": hist}


@parity_runner("cliptrase", "d2", tolerance=tolerance)
@torch.no_grad()
def run_d2(case: ParityCase) -> Results:
    """The Detectron2 port, with its padding."""
    meta = case.meta
    clip = tiny_clip(meta["model"], case.tensors("weights"))
    model = segmenter(
        clip,
        torch.from_numpy(case.inputs["text_features"]),
        tower=RecoveryTower(clip.visual, TowerRule(positions=POSITIONS)),
        scorer=cosine_scorer(case, normalize=False, cls_product="voc" in meta["dataset_name"]),
        view=View(
            "d2",
            divisor=meta["size_divisibility"],
            scale=meta["clip_resolution"],
            cut_padding=False,
        ),
        regions=RegionRule(meta["eps"], meta["min_samples"]),
        vote="mean_logits",
    )
    case.require("num_classes", len(case.inputs["text_features"]))
    case.require("asymetric_input", True)  # other pictures are shown as their view says
    out: Results = {}
    for index, size in enumerate(meta["out_sizes"]):
        picture = torch.from_numpy(case.inputs[f"image{index}"]).permute(2, 0, 1)
        results = _picture_results(model, picture, tuple(size))
        scores = model.segment(picture, tuple(size))
        results |= {"sem_seg": scores.full(), "label_map": scores.labels()}
        results["clip_input"] = model.view.frame(model.normalize(picture))[0][0]
        out |= {f"{index}.{k}": v for k, v in results.items()}
    return out


def _picture_results(
    model: CLIPtrase, picture: Tensor, size: tuple[int, int] | None = None
) -> Results:
    size = size or tuple(picture.shape[-2:])
    encoded = model.encode_picture(picture)
    dense, regions, rule = encoded.dense, encoded.regions, model.region_rule
    scores = encoded.frame.scores(model.score(dense)[0], size)
    denoised = denoise(dense.correlation[0], rule.denoise)
    without_product = replace(model.scorer, cls_product=False)
    out: Results = {
        "pixels": model.normalize(picture),
        "features_norm": F.normalize(dense.tokens, dim=-1)[0],
        "tokens": dense.tokens[0],
        "corr": dense.correlation[0],
        "denoised": denoised,
        "dbscan_labels": regions.labels,
        "patch_logits": without_product(dense, model.text_features())[0],
        "pre_vote": model.fold(scores.labels()),
        "pred": model.score_picture(encoded, size).labels(),
    }
    if regions.count:
        rows = prototypes(denoised, regions.labels)
        out["masks_up4"] = smooth_maps(rows, dense.grid, up=rule.up, median=1)
        out["masks_median"] = regions.maps
        out["mask_index"] = model.region_masks(encoded, size)
    return out


@parity_runner("cliptrase", "variants", tolerance=tolerance)
@torch.no_grad()
def run_variants(case: ParityCase) -> Results:
    """Ablation switches: attention modes, layers, correlations, clustering."""
    meta = case.meta
    clip = tiny_clip(meta["model"], case.tensors("weights"))

    def tower(**rule: Any) -> RecoveryTower:
        return RecoveryTower(clip.visual, TowerRule(positions=POSITIONS, **rule))

    out: Results = {}
    for name in meta["images"]:
        images = torch.from_numpy(case.inputs[name])
        found: Results = {
            f"fwd.{mode}": tower(attention=mode)(images).tokens for mode in meta["modes"]
        }
        allowed = allowed_pairs(torch.from_numpy(case.inputs[f"{name}.patch_gt"])[None])
        found["fwd.gt"] = tower()(images, allowed=allowed).tokens
        for number in meta["scr_layers"]:
            found[f"scr_at_{number}"] = tower(layer=number - 1)(images).tokens
        depth = meta["model"]["layers"]
        layers = [tower(corr_layer=i)(images).correlation for i in range(depth)]
        found["corr_all_layers"] = torch.stack(layers)
        found |= _cluster_variants(case, tower, images)
        out |= {f"{name}.{key}": value for key, value in found.items()}
    return out


def _cluster_variants(case: ParityCase, tower: Any, images: Tensor) -> Results:
    meta, dense = case.meta, tower()(images)
    heads, inner = dense.correlation, tower(corr_kind="inner")(images).correlation
    patches, matrix = denoise(heads[0], "none"), denoise(heads[0])
    unit = RegionRule(meta["eps_l2"], meta["min_samples"], normalize=True)
    features = RegionRule(meta["eps_f"], meta["min_samples"], target="features")
    return {
        "corr_heads": heads,
        "corr_concat": tower(corr_heads="concat")(images).correlation,
        "corr_inner": inner,
        "eq7_score": eq7_score(patches),
        "eq7_score_inner": eq7_score(denoise(inner[0], "none")),
        "rows_l2": F.normalize(patches, dim=-1),
        "labels_l2": cluster(patches, unit),
        "denoised": matrix,
        "labels_denoised_l2": cluster(
            matrix, RegionRule(meta["eps"], meta["min_samples"], normalize=True)
        ),
        "labels_features": cluster(matrix, features, dense.patches[0]),
    }


@parity_runner("cliptrase", "preprocess", tolerance=tolerance)
def run_preprocess(case: ParityCase) -> Results:
    """Resize, crop and normalise pictures and label maps."""
    clip = tiny_clip(TINY_VISUAL, {})
    case.require("n", len(case.meta["sizes"]))
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
