"""Whole models: inference, a training step, the optimiser, real sizes."""

from __future__ import annotations

import json
import math
import zlib
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import BitMasks, Instances
from torch import Tensor

from ovs_core.clip import TextEmbedder
from ovs_core.engine.config import load_cfg
from ovs_core.engine.optimizer import build_optimizer
from ovs_core.engine.run import build_segmenter
from ovs_core.methods.configs import find_config
from ovs_core.words.vocabulary import Vocabulary
from san.model import SAN

from ..runner import ParityCase, parity_runner
from .parts import recording, watched_matches
from .repeated import REPEATED
from .tiny_models import (
    Results,
    config_of,
    gradient,
    load_weights,
    published_parameters,
    tiny_san,
    watched,
)


@parity_runner("san", "eval", unused=REPEATED)
def run_inference(case: ParityCase) -> Results:
    """Run pictures through the whole model."""
    model, results = tiny_san(case), {}
    sizes = case.config["out_sizes"]
    pictures = [case.tensors()[f"image{b}"] for b in range(len(sizes))]
    inputs = [
        {"image": p, "height": h, "width": w} for p, (h, w) in zip(pictures, sizes, strict=True)
    ]
    with torch.no_grad(), watched(model) as seen:
        encoded = model.encode_picture(pictures[0])
    with torch.no_grad():
        results |= _inside(model, model.pad(pictures[:1], pictures[0].shape[-2:]), seen)
        results["mask_embed0"] = encoded.vectors
        results["class_logits"] = model.score_picture(encoded, (8, 8)).class_logits[None]
        for b, output in enumerate(model(inputs)):
            results[f"sem_seg{b}"] = output["sem_seg"]
    return results


def _inside(model: SAN, images: Tensor, seen: Results) -> Results:
    """What the files keep of the way of padded pictures."""
    shown = model.clip_input(images)
    levels, tokens, grid = model.features(shown)
    last = model.recognition.split
    results: Results = {
        "images": images,
        "clip_input": shown,
        f"clip/{last}_cls": tokens[None, :, 0],
    }
    results |= {f"clip/{level}": maps for level, maps in levels.items()}
    results["text_scaled"] = model.class_rows()
    for name, value in seen.items():
        inside_adapter = name.startswith(("block_", "query_out", "map_out"))
        results[f"adapter/{name}" if inside_adapter else name] = value
        if name.startswith("biases"):
            head = name.removeprefix("biases")
            results[f"attn_bias{head}"] = value[0]
            results[f"bias_on_clip_grid{head}"] = model.recognition.fit(value[0], grid)
    return results


def batch_of(case: ParityCase) -> list[dict[str, Any]]:
    """Training samples as the mapper makes them."""
    x, batch = case.tensors(), []
    for b in range(len(case.config["sizes"])):
        instances = Instances(tuple(x[f"masks{b}"].shape[-2:]))
        instances.gt_classes, instances.gt_masks = x[f"labels{b}"], BitMasks(x[f"masks{b}"])
        batch.append({"image": x[f"image{b}"], "instances": instances})
    return batch


@parity_runner("san", "train", unused=REPEATED)
def run_training(case: ParityCase) -> Results:
    """Make one training step with the published config's optimiser."""
    model, cfg = tiny_san(case).train(), config_of(case)
    model.criterion = recording(case)
    optimizer, batch = build_optimizer(cfg, model), batch_of(case)
    with watched(model) as seen, watched_matches(model.criterion.matcher) as matches:
        losses = model(batch)
    total = sum(losses.values())
    total.backward()
    rows, named = model.class_rows().detach(), dict(published_parameters(model))
    trained = {name: p for name, p in named.items() if p.requires_grad}
    results = _inside(model, model.batch(batch), seen) | matches
    results |= {f"loss/{name}": loss for name, loss in losses.items()} | {"total": total}
    images = model.batch(batch)
    for k, (_, vectors) in enumerate(model.find(images, every_block=True)):
        results |= {f"mask_embed{k}": vectors, f"class_logits{k}": vectors @ rows.t()}
    results |= {f"grad/{name}": gradient(p).clone() for name, p in trained.items()}
    results["grad_norm"] = torch.stack([gradient(p).norm() for p in trained.values()]).norm()
    results["trained"] = np.array(json.dumps(list(trained)))
    without = [name for name, p in trained.items() if p.grad is None]
    results["without_gradient"] = np.array(json.dumps(without))
    before = {name: p.detach().clone() for name, p in trained.items()}
    optimizer.step()
    rate = cfg.SOLVER.BASE_LR
    return results | {f"grad_step/{n}": (p - before[n]) / rate for n, p in trained.items()}


def published_solver(cfg: CfgNode, stated: dict[str, float]) -> None:
    """Bring the published switches of the optimiser to the suite's keys, in place.

    The published code multiplies rates by part of the model, and has one decay of embeddings.
    """
    solver = cfg.SOLVER
    side, clip = stated.get("BACKBONE_MULTIPLIER", 1.0), stated.get("CLIP_MULTIPLIER", 1.0)
    decay = stated.get("WEIGHT_DECAY_EMBED", 0.0) / solver.WEIGHT_DECAY
    embeddings = [part for part, _, _ in solver.PARAM_MULTIPLIERS]
    solver.PARAM_MULTIPLIERS = [
        *([part, clip if "positional" in part else side, decay] for part in embeddings),
        ["side_adapter", side, 1.0],
        ["clip.model.visual", clip, 1.0],
    ]
    solver.WEIGHT_DECAY_NORM = stated.get("WEIGHT_DECAY_NORM", solver.WEIGHT_DECAY_NORM)


@parity_runner("san", "optimizer", unused=REPEATED)
def run_optimizer(case: ParityCase) -> Results:
    """Build the optimiser of the published solver settings."""
    cfg, model = config_of(case), tiny_san(case).train()
    if case.config["solver"]:
        published_solver(cfg, case.config["solver"])
    optimizer = build_optimizer(cfg, model)
    keys = ("lr", "weight_decay", "betas", "eps")
    settings = {
        id(p): {k: list(group[k]) if k == "betas" else group[k] for k in keys}
        for group in optimizer.param_groups
        for p in group["params"]
    }
    named = published_parameters(model)
    groups = [
        {"name": n, "shape": list(p.shape), **settings[id(p)]} for n, p in named if p.requires_grad
    ]
    return {
        "groups": np.array(json.dumps(groups)),
        "all_parameters": np.array(
            json.dumps([[n, list(p.shape), p.requires_grad] for n, p in named])
        ),
        "n_trainable": np.array(sum(p.numel() for _, p in named if p.requires_grad)),
    }


def recipe_weight(name: str, shape: list[int], salt: int) -> Tensor:
    """Make a parameter from its published name, as the file's ``recipe`` says."""
    seed = (zlib.crc32(name.encode()) + salt) % 2**32
    z = np.random.RandomState(seed).standard_normal(shape)
    last = name.rpartition(".")[2]
    if name.endswith("logit_scale"):
        value = np.full(shape, 3.0)
    elif "bias_scaling" in name:
        value = np.full(shape, 0.1 if last == "bias" else 1.0)
    elif "bg_embed" in name:
        value = z
    elif "embed" in name:
        value = 0.05 * z
    elif last.endswith("bias"):
        value = 0.02 * z
    elif len(shape) == 1:
        value = 1 + 0.1 * z
    elif last in ("proj", "text_projection"):
        value = z / np.sqrt(shape[0])
    else:
        value = z / np.sqrt(np.prod(shape[1:])) * (0.7 if "mask_decoder" in name else 1.0)
    return torch.from_numpy(np.asarray(value, dtype=np.float32))


@parity_runner("san", "fullsize_vitb16", unused=REPEATED)
def run_fullsize(case: ParityCase) -> Results:
    """Run the published config on the file's pictures."""
    case.require("templates", "vild_14")
    meta = case.meta
    cfg = load_cfg(
        find_config("san/vitb16"),
        ["MODEL.CLIP.PRETRAINED", "random", "MODEL.DEVICE", "cpu", "MODEL.OVS.OUTPUT", "scores"],
    )
    model = build_segmenter(cfg)
    weights = {n: recipe_weight(n, s, meta["salt"]) for n, s in meta["parameters"].items()}
    load_weights(model, weights, whole=True)
    model.text_embedder = TextEmbedder(model.text_encoder, folder="")
    model.set_vocabulary(Vocabulary.from_names(meta["classes"]))
    rows = model.class_rows().detach()
    results: Results = {"text_unit": rows / model.clip.parts.logit_scale.detach().exp()}
    for one in meta["cases"]:
        k, (height, width) = one["k"], one["HW"]
        cells = (3, math.ceil(height / 16), math.ceil(width / 16))
        coarse = np.random.RandomState(100 + k + 10 * meta["salt"]).randint(0, 256, cells)
        picture = np.kron(coarse, np.ones((1, 16, 16)))[:, :height, :width].astype(np.uint8)
        results |= _fullsize(model, picture, one["height_width"], k)
    return results


@torch.no_grad()
def _fullsize(model: SAN, picture: np.ndarray, size: list[int], k: int) -> Results:
    shown = torch.from_numpy(picture)
    with watched(model) as seen:
        encoded = model.encode_picture(shown)
    inside = _inside(model, model.pad([shown], picture.shape[-2:]), seen)
    scores = model.score_picture(encoded, tuple(size))
    bias = inside["bias_on_clip_grid0"][0].flatten(2)
    return {
        f"sem_seg.{k}": scores.full(),
        f"class_logits.{k}": scores.class_logits,
        f"mask_logits_sub.{k}": encoded.masks[0, ::20],
        f"bias_sub.{k}": bias[::6, ::25, ::7],
        f"map_out_sub.{k}": inside["adapter/map_out0"][0, ::40, ::4, ::4],
        **{f"clip_sub.{k}.{n}": inside[f"clip/{n}"][0, ::96, ::4, ::4] for n in (0, 3, 9)},
    }
