"""The kinds of ClearCLIP, NACLIP, ProxyCLIP, ResCLIP, and of the protocol that they share."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor
from torch.nn import functional as F

from cliptrase.dino import DinoFeatures
from cliptrase.last_steps import LastSteps
from cliptrase.methods import find_method
from cliptrase.model import CLIPtrase
from cliptrase.neighbours import Neighbours, neighbourhood
from cliptrase.proxy import ProxyRule, ProxyTower
from cliptrase.residual import FeedbackScorer
from cliptrase.scoring import CosineScorer
from cliptrase.tower import RecoveryTower
from ovs_core.clip import CLIP
from ovs_core.clip.attention import project_qkv
from ovs_core.engine.config import get_ovs_cfg
from ovs_core.modeling.protocols import Slide, Whole
from ovs_core.modeling.score_thresholds import ScoreThresholds
from ovs_core.modeling.scores import GridScores

from ..runner import ParityCase, parity_runner
from .common import (
    POSITIONS,
    TINY_VISUAL,
    Results,
    probability_tolerance,
    segmenter,
    tiny_clip,
)

# The files name things as the released code does.
UNUSED = {
    "stride": "a whole picture has none",
    "antialias": "the product chooses how positions are resized by the kind of network",
    "offset": "likewise",
    "reference": "which row of the paper the case stands for",
}
ATTENTIONS = {"ClearCLIP": "qq", "SCLIP": "csa", "vanilla": "vanilla", "MaskCLIP": "identity"}


def parts(method: str, clip: CLIP, scale: float = 40.0, **keys: Any) -> dict[str, Any]:
    """Build a method's parts as the model does, from its keys below ``MODEL.CLIPTRASE``.

    Cosines are left unscaled, as in the files; ``scale`` is that of the last steps.
    """
    cfg = get_ovs_cfg()
    node = cfg.MODEL.CLIPTRASE
    node.METHOD, node.POSITION_SAME_COUNT = method, True
    node.LAST_STEPS.ENABLED, node.LAST_STEPS.SCALE = True, scale
    for key, value in keys.items():
        node[method.upper()][key] = value
    return dict(find_method(method)(cfg, {"clip": clip, "templates": ["{}"]}))


def model_of(method: str, clip: CLIP, text: Tensor, **keys: Any) -> CLIPtrase:
    """Build a model with given text features."""
    return segmenter(clip, text, **parts(method, clip, **keys))


@contextmanager
def watched(visual: Any) -> Any:
    """Record what enters the last block, and what its output projection gives."""
    block, seen = visual.transformer.resblocks[-1], SimpleNamespace()
    hooks = [
        block.ln_1.register_forward_pre_hook(lambda _, given: setattr(seen, "entered", given[0])),
        block.attn.out_proj.register_forward_hook(
            lambda _, given, gives: setattr(seen, "block", gives)
        ),
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def run_last_block(model: CLIPtrase, images: Tensor) -> Results:
    """What the tower and the scorer give, and the projected output of the last attention."""
    with watched(model.clip.visual) as seen:
        dense = model.encode(images)
        logits = model.score(dense)  # a second pass through the last block, if there is one
    maps = [GridScores(x, tuple(images.shape[-2:])).labels() for x in logits]
    return {
        "block": seen.block,
        "entered": seen.entered,
        "tokens": dense.tokens,
        "patch_logits": logits,
        "label_map": torch.stack(maps),
    }


def weights_of(tower: RecoveryTower, entered: Tensor, grid: tuple[int, int]) -> Tensor:
    """The weights of the last block, (B, H, L, L): what it makes of one-hot values."""
    block = tower.encoder.visual.transformer.resblocks[-1]
    q, k, _ = project_qkv(block, entered)
    length = q.shape[2]
    rows = torch.eye(length).expand(*q.shape[:2], -1, -1)
    mixed = tower.attended(q, k, rows, grid)
    return mixed.unflatten(2, (q.shape[1], length)).transpose(1, 2)


@parity_runner("cliptrase", "clearclip", tolerance=probability_tolerance, unused=UNUSED)
@torch.no_grad()
def run_clearclip(case: ParityCase) -> Results:
    """ClearCLIP's last block and its switches."""
    clip = tiny_clip(case.meta["model"], case.tensors("weights"))
    text = torch.from_numpy(case.inputs["text_features"])
    case.require("logit_scale", 1.0)
    out: Results = {}
    for name, setting in case.meta["cases"].items():
        keys = {
            "ATTENTION": ATTENTIONS[setting["attention"]],
            "RESIDUAL": setting["keep_residual"],
        }
        model = model_of("clearclip", clip, text, **keys)
        images = torch.from_numpy(case.inputs[setting["image"]])
        found = run_last_block(model, images)
        found["attn"] = weights_of(model.tower, found["entered"], model.encode(images).grid)
        found["tokens"] = found["tokens"][:, 1:]
        out |= {f"{name}.{key}": value for key, value in found.items()}
    return out


@parity_runner("cliptrase", "naclip", tolerance=probability_tolerance, unused=UNUSED)
@torch.no_grad()
def run_naclip(case: ParityCase) -> Results:
    """NACLIP's last block and its strategies."""
    clip = tiny_clip(case.meta["model"], case.tensors("weights"))
    text = torch.from_numpy(case.inputs["text_features"])
    case.require("logit_scale", 1.0)
    out: Results = {}
    for name, setting in case.meta["cases"].items():
        model = model_of("naclip", clip, text, **naclip_keys(setting))
        images = torch.from_numpy(case.inputs[setting["image"]])
        found = run_last_block(model, images)
        grid = model.encode(images).grid
        found["attn"] = weights_of(model.tower, found["entered"], grid)
        rule = model.tower.rule.attention
        if isinstance(rule, Neighbours):
            found["omega"] = neighbourhood(grid, rule.std, like=images)
        out |= {f"{name}.{key}": value for key, value in found.items()}
    return out


def naclip_keys(setting: dict[str, Any]) -> dict[str, Any]:
    """Keys of a case."""
    return {
        "ATTENTION": setting.get("attention", "naclip"),
        "STD": setting["gaussian_std"],
        "RESIDUAL": setting.get("arch", "reduced") == "vanilla",
    }


@parity_runner(
    "cliptrase", "training_free_protocol", tolerance=probability_tolerance, unused=UNUSED
)
@torch.no_grad()
def run_protocol(case: ParityCase) -> Results:
    """Windows, resizes and last steps of one of the methods."""
    clip = tiny_clip(case.meta["model"], clip_weights(case))
    out: Results = {}
    for name, setting in case.meta["cases"].items():
        text = torch.from_numpy(case.inputs[setting["text"]])
        image = torch.from_numpy(case.inputs[setting["image"]])[0]
        model = PROTOCOL_MODELS[case.meta["method"]](case, clip, text, setting)
        model.protocol = protocol_of(case, setting)
        model.last_steps = LastSteps(
            ScoreThresholds(
                setting["logit_scale"],
                setting["prob_thd"],
                renormalize=case.meta["renormalise"],
            ),
            pamr_steps=setting.get("pamr_steps", 0),
            pamr_dilations=tuple(setting.get("pamr_stride", ())),
        )
        size = tuple(setting["ori_shape"])
        scores = model.protocol.score(model, model.protocol.encode(model, image), size)
        cosines = model.last_steps.refine(scores.full(), image)
        finished = model.last_steps.finish(scores.full(), setting["query_idx"], image)
        found = {
            "logits": cosines[None],
            "probs": finished.full(),
            "label_map": finished.labels(),
        }
        out |= {f"{name}.{key}": value for key, value in found.items()}
    return out


@parity_runner("cliptrase", "proxy_features", tolerance=probability_tolerance, unused=UNUSED)
@torch.no_grad()
def run_proxy_features(case: ParityCase) -> Results:
    """Pictures and features of the other network."""
    network = network_of(case, tiny_clip(TINY_VISUAL, {}))
    out: Results = {}
    for name in case.meta["images"]:
        images = torch.from_numpy(case.inputs[name])
        features = network(images)
        units = F.normalize(features.flatten(2), dim=1)
        out[f"{name}.vfm_image"] = network.image(images)
        out[f"{name}.features"] = features
        out[f"{name}.mean_cosine"] = (units.transpose(1, 2) @ units).mean()
    return out


def network_of(case: ParityCase, clip: CLIP) -> DinoFeatures:
    """Build the other network of a file, whose weights have their released names."""
    shape = case.meta["vfm"]
    dinov2 = shape["kind"] == "dinov2"
    model = VisionTransformer(
        img_size=shape["img_size"],
        patch_size=shape["patch_size"],
        embed_dim=shape["width"],
        depth=shape["layers"],
        num_heads=shape["heads"],
        reg_tokens=shape.get("registers", 0),
        no_embed_class=shape.get("registers", 0) > 0,  # as timm has them
        init_values=1e-5 if dinov2 else None,
        num_classes=0,
        dynamic_img_size=True,
    ).eval()
    weights = case.tensors("weights")
    own = {n.removeprefix("vfm."): t for n, t in weights.items() if n.startswith("vfm.")}
    model.load_state_dict(checkpoint_filter_fn(own, model))
    return DinoFeatures(model, clip)


@parity_runner("cliptrase", "proxyclip", tolerance=probability_tolerance, unused=UNUSED)
@torch.no_grad()
def run_proxyclip(case: ParityCase) -> Results:
    """ProxyCLIP's last block with given features."""
    clip = tiny_clip(case.meta["model"], case.tensors("weights"))
    text = torch.from_numpy(case.inputs["text_features"])
    case.require("logit_scale", 1.0)
    out: Results = {}
    for name, setting in case.meta["cases"].items():
        images = torch.from_numpy(case.inputs[setting["image"]])
        features = torch.from_numpy(case.inputs[setting["features"]])
        model = proxy_model(clip, text, lambda _, given=features: given, setting)
        found = run_last_block(model, images)
        block, onto = clip.visual.transformer.resblocks[-1], tuple(features.shape[-2:])
        grid = model.tower.encoder.grid(tuple(images.shape[-2:]))
        values = model.tower.values(block, found["entered"], grid, onto)
        found["values"] = values.unflatten(2, (block.attn.num_heads, -1)).transpose(1, 2)
        found["attn"] = model.tower.rule.weights(features)
        found["kept"] = found["attn"] > 0
        out |= {f"{name}.{key}": value for key, value in found.items()}
    return out


def proxy_model(clip: CLIP, text: Tensor, network: Any, setting: dict[str, Any]) -> CLIPtrase:
    """A model whose other network is a given one."""
    rule = ProxyRule(setting["beta"], setting["gamma"])
    tower = ProxyTower(clip.visual, network, rule, POSITIONS)
    return segmenter(clip, text, tower=tower, scorer=CosineScorer(1.0))


@parity_runner("cliptrase", "resclip", tolerance=probability_tolerance, unused=UNUSED)
@torch.no_grad()
def run_resclip(case: ParityCase) -> Results:
    """Both passes of ResCLIP, and what lies between them."""
    clip = tiny_clip(case.meta["model"], case.tensors("weights"))
    text = torch.from_numpy(case.inputs["text_features"])
    out: Results = {}
    for name, setting in case.meta["cases"].items():
        model = resclip_model(clip, text, setting)
        images = torch.from_numpy(case.inputs[setting["image"]])
        found = run_last_block(model, images)
        dense, agreed = model.encode(images), None
        if dense.unfinished.earlier is not None:
            found["rcs"] = dense.unfinished.earlier[0]
        if isinstance(model.scorer, FeedbackScorer):
            rule, cosines = model.scorer.rule, CosineScorer(1.0)(dense, text)
            probabilities = rule.probabilities(cosines, images)
            patch = model.tower.encoder.patch_size
            labels = rule.patch_labels(probabilities, patch)
            agreed = rule(cosines, images, patch)
            found["first_probs"] = probabilities[0]
            found["patch_labels"] = labels[0]
            found["sfr"] = rule.agreement(labels)[0]
        found["tokens"] = model.tower.finish(dense.unfinished, dense.grid, agreed)
        block = clip.visual.transformer.resblocks[-1]
        q, k, _ = project_qkv(block, dense.unfinished.entered)
        earlier = dense.unfinished.earlier
        found["attn"] = model.tower.rule.weights(q, k, earlier, agreed, dense.grid)[0]
        out |= {f"{name}.{key}": value for key, value in found.items()}
    return out


def resclip_model(clip: CLIP, text: Tensor, setting: dict[str, Any]) -> CLIPtrase:
    """A model with the values of a case."""
    return model_of(
        "resclip",
        clip,
        text,
        scale=float(setting["logit_scale"]),
        BASE=setting.get("attention", "resclip"),
        RESIDUAL=setting.get("arch", "wo_resi") == "w_resi",
        STD=setting["gaussian_std"],
        RCS=setting.get("use_rcs", True),
        SFR=setting.get("use_sfr", True),
        RCS_WEIGHTS=setting["rcs_weights"],
        SFR_WEIGHTS=setting["sfr_weights"],
        TEMP_THD=setting["temp_thd"],
        DECAY=setting["decay"],
    )


def clip_weights(case: ParityCase) -> dict[str, Tensor]:
    """The tensors of the CLIP; the other network's stand beside them."""
    weights = case.tensors("weights")
    return {name: t for name, t in weights.items() if not name.startswith("vfm.")}


def protocol_of(case: ParityCase, setting: dict[str, Any]) -> Slide | Whole:
    """Windows of a case. Without, ClearCLIP and ProxyCLIP resize once, the others twice."""
    multiple = case.meta["pad_multiple"]
    if setting["crop"]:
        patch = case.meta["model"]["patch_size"]
        padding = {"patch": patch, 0: 1}.get(multiple, multiple)
        return Slide(setting["crop"], setting["stride"], pad_small=False, pad_multiple=padding)
    twice = case.meta["method"] in ("naclip", "resclip")
    return Slide(2048, 2048, pad_small=False) if twice else Whole()


def _clearclip(case: ParityCase, clip: CLIP, text: Tensor, setting: dict[str, Any]) -> CLIPtrase:
    return model_of("clearclip", clip, text)


def _naclip(case: ParityCase, clip: CLIP, text: Tensor, setting: dict[str, Any]) -> CLIPtrase:
    return model_of("naclip", clip, text, **naclip_keys(setting))


def _resclip(case: ParityCase, clip: CLIP, text: Tensor, setting: dict[str, Any]) -> CLIPtrase:
    return resclip_model(clip, text, setting)


def _proxyclip(case: ParityCase, clip: CLIP, text: Tensor, setting: dict[str, Any]) -> CLIPtrase:
    return proxy_model(clip, text, network_of(case, clip), setting)


PROTOCOL_MODELS = {
    "clearclip": _clearclip,
    "naclip": _naclip,
    "proxyclip": _proxyclip,
    "resclip": _resclip,
}
