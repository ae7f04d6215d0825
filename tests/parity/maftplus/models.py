"""Backbones, text, ensemble, and the whole models."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from detectron2.structures import BitMasks, Instances
from torch import Tensor

from maftplus.ensemble import geometric_ensemble, has_pixels, with_void
from maftplus.mask_segmenter import EncodedPicture, MaskSegmenter
from maftplus.model import MAFTPlus
from maftplus.published import rename
from maftplus.texts import seen_classes
from maftplus.transfer import dense_embedding
from ovs_core.clip import TextEmbedder, TextEncoder
from ovs_core.clip.conv_encoder import ConvEncoder
from ovs_core.engine.config import get_ovs_cfg
from ovs_core.engine.optimizer import build_optimizer
from ovs_core.modeling.mask2former import mask_pool

from ..runner import Arrays, ParityCase, Tolerance, default_tolerance, parity_runner, stated
from .mask2former import RecordedDraws, Results, instance_arrays, published_info
from .names import published_name
from .tiny_models import (
    TEMPLATES,
    RecordedTexts,
    recorded_texts,
    tiny_clip,
    tiny_segmenter,
    vocabulary,
)

METHODS = {"fcclip": "fcclip", "maft": "maftplus"}
# Order of the parts in the published modules; inside a part ours is the same.
_PUBLISHED_ORDER = (
    "backbone.", "backbone_t.",
    *(f"sem_seg_head.pixel_decoder.{n}" for n in (
        "input_proj", "transformer.level_embed", "transformer.encoder", "mask_features",
        "adapter_1", "layer_1")),
    *(f"sem_seg_head.predictor.{n}" for n in (
        "logit_scale", "transformer_self", "transformer_cross", "transformer_ffn", "decoder_norm",
        "query_feat", "query_embed", "level_embed", "mask_embed", "_mask_pooling_proj",
        "class_embed")),
    "void_embedding", "cdt.",
)  # fmt: skip


_OTHER = "of the whole model, of which this file tests one step"
REST_OF_MODEL = {
    name: _OTHER
    for name in (
        "clip", "head", "cdt_heads", "obj_thr", "ov_thr", "panoptic", "instance", "points", "topk",
        "train_things", "test_names", "test_things", "alpha", "beta", "valid", "sizes",
        "out_sizes", "nan")
}  # fmt: skip
WITHOUT_TEST = {
    "cdt_heads": "FC-CLIP has no transfer",
    **{name: "MAFT+ has no ensemble" for name in ("alpha", "beta", "valid")},
    "test_things": "no test in training",
    "out_sizes": "no test in training",
    "sizes": "the pictures have them",
}


def area_tolerance(case: ParityCase, name: str, references: Arrays) -> Tolerance:
    """Let 0.3 % of the pixels of id maps and instance masks differ, as the files state."""
    if name.startswith(("panoptic_ids", "inst_masks")):
        return Tolerance(share=stated(case, "tolerance", "panoptic_ids")[0] / 100)
    if not np.issubdtype(references[name].dtype, np.inexact):
        return Tolerance()
    return default_tolerance(case, name, references)


@parity_runner("fcclip", "backbone")
def run_backbone(case: ParityCase) -> Results:
    """Run a tower, its projection of pooled vectors or masks, and the text tower."""
    x, config, weights = case.tensors(), case.config, case.tensors("weights")
    weights = {k.removeprefix("clip_model."): v for k, v in weights.items()}
    layers = {n.split(".")[2] for n in weights if n.startswith("transformer.resblocks.")}
    clip = tiny_clip(
        config,
        {"vocab_size": len(weights["token_embedding.weight"]), "layers": len(layers)},
    )
    clip.model.load_state_dict(weights)
    encoder = ConvEncoder(clip.visual)
    features = encoder(x["image"])
    if "masks" in x:
        prediction = encoder.embed_masks(features["dense"], x["masks"], mask_pool)
    else:
        prediction = encoder.project(x["pooled"])
    features["clip_vis_dense"] = features.pop("dense")
    return {
        **{f"feat/{name}": value for name, value in features.items()},
        "visual_prediction": prediction,
        "text_features": TextEncoder(clip)(x["tokens"]),
    }


@parity_runner("fcclip", "text_classifier", unused=REST_OF_MODEL)
def run_texts(case: ParityCase) -> Results:
    """Make prompts, average templates, find the seen classes."""
    config = case.config["model"]
    clip = tiny_clip(config["clip"])
    embedder = TextEmbedder(RecordedTexts(clip, recorded_texts(config, case.inputs)), folder="")
    words = {w: vocabulary(config[f"{w}_names"]) for w in ("train", "test")}
    results: Results = {
        "overlap_mask": np.array(seen_classes(words["test"], words["train"]), dtype=np.int64)
    }
    for which, entries in words.items():
        results[f"{which}_classifier"] = embedder.texts(entries.texts, TEMPLATES)
        results[f"{which}_num_templates"] = np.bincount(entries.class_index)
        results[f"{which}_strings"] = np.array(json.dumps(entries.prompts(TEMPLATES)))
    return results


@parity_runner("fcclip", "ensemble", unused=REST_OF_MODEL)
def run_ensemble(case: ParityCase) -> Results:
    """Blend given scores."""
    x, config = case.tensors(), case.config["model"]
    seen = seen_classes(vocabulary(config["test_names"]), vocabulary(config["train_names"]))
    trained = x["in_vocab_logits"]
    blended = geometric_ensemble(
        trained[..., :-1],
        x["out_vocab_logits"][..., :-1],
        seen,
        alpha=config["alpha"],
        beta=config["beta"],
        valid=has_pixels(x["mask_logits"]) if config["valid"] else None,
    )
    return {
        "final_class_log_probs": with_void(blended, trained),
        "overlap_mask": np.array(seen, dtype=np.int64),
    }


def load_reference_weights(model: MaskSegmenter, case: ParityCase) -> None:
    """Load a file's weights; only the text tower may be left out of the file."""
    weights = rename(case.tensors("weights"))
    weights.pop("criterion.empty_weight", None)
    teacher = {k: weights.pop(k) for k in list(weights) if k.startswith("teacher.")}
    result = model.load_state_dict(weights, strict=False)
    text = ("clip.model.transformer.", "clip.model.token_", "clip.model.ln_final", "clip.model.pos")
    absent = [k for k in result.missing_keys if not k.startswith(text)]
    if absent or result.unexpected_keys:
        raise ValueError(f"missing {absent}, unexpected {result.unexpected_keys}")
    if isinstance(model, MAFTPlus) and teacher:
        visual = {
            k.removeprefix("teacher.visual."): v for k, v in teacher.items() if ".visual." in k
        }
        model.teacher.visual.load_state_dict(visual)


@parity_runner("fcclip", "eval", tolerance=area_tolerance, unused=WITHOUT_TEST)
@parity_runner("maftplus", "eval", tolerance=area_tolerance, unused=WITHOUT_TEST)
def run_inference(case: ParityCase) -> Results:
    """Run a picture through the whole model."""
    config = case.config
    model = tiny_segmenter(METHODS[case.meta["upstream"]], config, case.inputs).eval()
    load_reference_weights(model, case)
    model.set_vocabulary(vocabulary(config["test_names"], config["test_things"]))
    results: Results = {}
    with torch.no_grad():
        for b, size in enumerate(config["out_sizes"]):
            picture = case.tensors()[f"image{b}"]
            encoded = model.encode_picture(picture)
            results |= _intermediates(model, encoded)
            results["images"] = model.pad([picture], picture.shape[-2:])
            height, width = size
            output = model([{"image": picture, "height": height, "width": width}])[0]
            results[f"sem_seg{b}"] = output["sem_seg"]
            if "panoptic_seg" in output:
                ids, info = output["panoptic_seg"]
                results |= {f"panoptic_ids{b}": ids, f"panoptic_info{b}": published_info(info)}
            if "instances" in output:
                results |= instance_arrays(output["instances"], str(b))
    return results


def _intermediates(model: MaskSegmenter, encoded: EncodedPicture) -> Results:
    rows, index = model.rows()
    results: Results = {
        "clip_vis_dense": encoded.dense,
        "pred_logits": model.trained_scores(encoded.prediction, rows, index),
        "pred_masks": encoded.prediction.masks,
        "clip_query_embedding": encoded.mask_embedding,
        "final_class_log_probs": model.classify(encoded),
    }
    if isinstance(model, MAFTPlus):
        layout = model.transfer.layout
        results["cdt_image_embedding"] = dense_embedding(
            model.encoder, encoded.dense, layout=layout
        )
        rows = results["text_after_cdt"] = model.transferred_rows(encoded.dense, rows)
    results["out_vocab_logits"] = model.clip_scores(encoded.mask_embedding, rows, index)
    return results


@parity_runner("fcclip", "train", unused=WITHOUT_TEST)
@parity_runner("maftplus", "train", unused=WITHOUT_TEST)
def run_training(case: ParityCase) -> Results:
    """Compute losses and gradients of one batch."""
    config = case.config
    model = tiny_segmenter(
        METHODS[case.meta["upstream"]], config, case.inputs, RecordedDraws(case)
    ).train()
    load_reference_weights(model, case)
    losses = model(_batch(case))
    total = sum(losses.values())
    results: Results = {f"loss/{name}": loss for name, loss in losses.items()}
    results["total"] = total
    results["requires_grad"] = json.dumps(
        {name: p.requires_grad for name, p in published_parameters(model)}
    )
    wanted = {"grad": total} | {
        f"grad_{name}": losses[f"{name}_loss"]
        for name in ("ranking", "rc")
        if f"{name}_loss" in losses
    }
    for group, value in wanted.items():
        results |= _gradients(model, value, group)
    return results


def _gradients(model: MaskSegmenter, loss: Tensor, group: str) -> Results:
    named = [(name, p) for name, p in published_parameters(model) if p.requires_grad]
    found = torch.autograd.grad(loss, [p for _, p in named], retain_graph=True, allow_unused=True)
    return {
        f"{group}/{name}": torch.zeros_like(p) if g is None else g
        for (name, p), g in zip(named, found, strict=True)
    }


def _batch(case: ParityCase) -> list[dict[str, Any]]:
    x, batch = case.tensors(), []
    for b in range(len(case.config["sizes"])):
        masks = x[f"masks{b}"]
        instances = Instances(tuple(masks.shape[-2:]))
        instances.gt_classes = x[f"labels{b}"]
        instances.gt_masks = BitMasks(masks)
        batch.append({"image": x[f"image{b}"], "instances": instances})
    return batch


def published_parameters(model: MaskSegmenter) -> list[tuple[str, torch.nn.Parameter]]:
    """All parameters, the teacher's too, under published names and in the published order."""
    named = [(published_name(name), p) for name, p in model.named_parameters()]
    if isinstance(model, MAFTPlus):
        student = [n for n, _ in named if n.startswith("backbone.")]
        trunk = dict(model.teacher.visual.named_parameters())
        text = dict(model.clip.model.named_parameters())
        for name in student:
            inner = name.removeprefix("backbone.clip_model.")
            parameter = trunk.get(inner.removeprefix("visual."), text[inner])
            named.append((f"backbone_t.clip_model.{inner}", parameter))

    def place(item: tuple[str, torch.nn.Parameter]) -> int:
        return next(i for i, p in enumerate(_PUBLISHED_ORDER) if item[0].startswith(p))

    return sorted(named, key=place)


@parity_runner("fcclip", "optimizer", unused=REST_OF_MODEL)
@parity_runner("maftplus", "optimizer", unused=REST_OF_MODEL)
def run_optimizer(case: ParityCase) -> Results:
    """Build the optimiser of the published solver settings."""
    method = METHODS[case.meta["upstream"]]
    solver = case.config["solver"]
    model = tiny_segmenter(method, case.config["model"], {}).train()
    cfg = get_ovs_cfg()
    cfg.SOLVER.BASE_LR = solver["BASE_LR"]
    cfg.SOLVER.WEIGHT_DECAY = solver["WEIGHT_DECAY"]
    cfg.SOLVER.WEIGHT_DECAY_NORM = solver["WEIGHT_DECAY_NORM"]
    cfg.SOLVER.WEIGHT_DECAY_EMBED = solver["WEIGHT_DECAY_EMBED"]
    clipping = cfg.SOLVER.CLIP_GRADIENTS
    for key, value in solver["CLIP_GRADIENTS"].items():
        clipping[key] = value
    cfg.SOLVER.MOMENTUM = solver["MOMENTUM"]
    cfg.SOLVER.PARAM_MULTIPLIERS = [["clip.model.visual", solver["BACKBONE_MULTIPLIER"], 1.0]]
    optimizer = build_optimizer(cfg, model)
    case.require("config.solver.OPTIMIZER", type(optimizer).__name__.upper())
    settings = {
        id(p): [group["lr"], group["weight_decay"], list(group["betas"]), group["eps"]]
        for group in optimizer.param_groups
        for p in group["params"]
    }
    parameters = published_parameters(model)
    return {
        "groups": json.dumps({n: settings[id(p)] for n, p in parameters if id(p) in settings}),
        "all_parameters": json.dumps({n: list(p.shape) for n, p in parameters}),
        "n_trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "optimizer_class": type(optimizer).__name__,
    }
