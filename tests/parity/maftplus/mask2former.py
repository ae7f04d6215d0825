"""Mask2Former's parts: attention, decoders, matcher, criterion, inference on given masks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import torch
from detectron2.structures import Instances
from torch import Tensor

from maftplus.published import rename
from ovs_core.clip.conv_encoder import STAGES
from ovs_core.modeling.mask2former import (
    DeformableAttention,
    HeadOutput,
    MaskScores,
    MaskTargets,
    Matcher,
    PixelFeatures,
    SetCriterion,
    class_scores,
    deformable_sampling,
    fit_masks,
    mask_pool,
    sine_positions,
)

from ..runner import ParityCase, parity_runner
from .names import published_name
from .tiny_models import tiny_decoder, tiny_pixel_decoder

Results = dict[str, object]
_ARRAYS = "the arrays of the file hold it"
DRAWN = {"num_classes": _ARRAYS, "num_templates": _ARRAYS, "K": _ARRAYS, "special": _ARRAYS,
         "stuff": "the other classes than the things"}  # fmt: skip


class RecordedDraws:
    """Gives recorded uniform numbers in their order."""

    def __init__(self, case: ParityCase) -> None:
        draws = {k: v for k, v in case.tensors().items() if k.startswith("draws/")}
        self._draws: Iterator[Tensor] = iter(draws[f"draws/{i}"] for i in range(len(draws)))

    def __call__(
        self, owners: Sequence[int], shape: tuple[int, ...], device: torch.device
    ) -> Tensor:
        """Give the next ones, which must have the asked shape."""
        draw, shape = next(self._draws), (len(owners), *shape)
        if tuple(draw.shape) != shape:
            raise ValueError(f"asked for draws of shape {shape}, recorded are {tuple(draw.shape)}")
        return draw.to(device)


def targets_of(inputs: dict[str, Tensor], pictures: int) -> list[MaskTargets]:
    """Read ``labels{b}`` and ``masks{b}``."""
    return [MaskTargets(inputs[f"labels{b}"], inputs[f"masks{b}"]) for b in range(pictures)]


def class_index(counts: Tensor) -> list[int]:
    """Class of each text from the number of texts per class."""
    return torch.repeat_interleave(torch.arange(len(counts)), counts).tolist()


def grads(module: torch.nn.Module, prefix: str = "") -> Results:
    """Gradients of a module's parameters under their published names."""
    return {
        f"grad/{published_name(prefix + name).removeprefix(published_prefix(prefix))}": p.grad
        for name, p in module.named_parameters()
        if p.grad is not None
    }


def published_prefix(prefix: str) -> str:
    """Published form of a module prefix of ours."""
    return {
        "pixel_decoder.": "sem_seg_head.pixel_decoder.",
        "decoder.": "sem_seg_head.predictor.",
    }.get(prefix, prefix)


def load_part(module: torch.nn.Module, weights: dict[str, Tensor], prefix: str) -> None:
    """Load the published weights of one part."""
    full = {published_prefix(prefix) + name: value for name, value in weights.items()}
    ours = {name.removeprefix(prefix): value for name, value in rename(full).items()}
    module.load_state_dict(ours)


@parity_runner("fcclip", "msdeform_core", unused={"config": "sizes of the arrays"})
def run_sampling(case: ParityCase) -> Results:
    """Sample and differentiate."""
    x = case.tensors()
    leaves = {
        k: x[k].requires_grad_() for k in ("value", "sampling_locations", "attention_weights")
    }
    sizes = [tuple(s) for s in x["spatial_shapes"].tolist()]
    out = deformable_sampling(leaves["value"], sizes, *list(leaves.values())[1:])
    out.backward(x["cotangent"])
    return {"output": out, **{f"grad/{k}": v.grad for k, v in leaves.items()}}


@parity_runner("fcclip", "msdeform_attn")
def run_attention(case: ParityCase) -> Results:
    """Run the attention module."""
    x, config = case.tensors(), case.config
    module = DeformableAttention(
        config["d_model"],
        heads=config["heads"],
        levels=len(config["shapes"]),
        points=config["points"],
    )
    results: Results = {"init/sampling_offsets.bias": module.sampling_offsets.bias.detach().clone()}
    module.load_state_dict(case.tensors("weights"))
    sizes = [tuple(s) for s in x["spatial_shapes"].tolist()]
    results["output"] = module(x["query"], x["input_flatten"], sizes, x["reference_points"])
    return results


@parity_runner("fcclip", "position_sine")
def run_positions(case: ParityCase) -> Results:
    """Embed positions."""
    config = case.config
    return {"pos": sine_positions((config["H"], config["W"]), 2 * config["num_pos_feats"])[None]}


@parity_runner("fcclip", "pixel_decoder")
def run_pixel_decoder(case: ParityCase) -> Results:
    """Decode and differentiate."""
    x, config = case.tensors(), case.config
    decoder = tiny_pixel_decoder(dict(zip(STAGES, config["chs"], strict=True)), config)
    load_part(decoder, case.tensors("weights"), "pixel_decoder.")
    out = decoder(x)
    (out.mask_features.square().mean() + out.levels[0].square().mean()).backward()
    return {
        "mask_features": out.mask_features,
        "encoder_out0": out.levels[0],
        **{f"multi_scale/{i}": level for i, level in enumerate(out.levels)},
        **grads(decoder, "pixel_decoder."),
    }


@parity_runner("fcclip", "transformer_decoder", unused=DRAWN)
def run_decoder(case: ParityCase) -> Results:
    """Decode, score and differentiate."""
    x, config = case.tensors(), case.config
    decoder = tiny_decoder(config["embed"], config)
    load_part(decoder, case.tensors("weights"), "decoder.")
    features = PixelFeatures(x["mask_features"], [x[f"multi_scale_{i}"] for i in range(3)])
    seen: list[Tensor] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, args: seen.append(args[-1]))
        for layer in decoder.layers
    ]
    heads = decoder(features, every_head=True)
    for hook in hooks:
        hook.remove()
    index = class_index(x["num_templates"])
    texts = x["text_classifier"]
    logits = [class_scores(h.class_embedding, texts, index, decoder.logit_scale) for h in heads]
    (logits[-1].mean() + heads[-1].masks.square().mean()).backward()
    # The published decoder also makes the mask behind the last layer; nothing uses or opens it.
    size = tuple(features.levels[len(decoder.layers) % 3].shape[-2:])
    seen.append((fit_masks(heads[-1].masks, size) < 0).flatten(2))
    results: Results = {"pred_logits": logits[-1], "pred_masks": heads[-1].masks}
    for i, head in enumerate(heads[:-1]):
        results |= {f"aux{i}/pred_logits": logits[i], f"aux{i}/pred_masks": head.masks}
    results |= {f"attn_mask/{i}": mask for i, mask in enumerate(seen)}
    return results | grads(decoder, "decoder.")


@parity_runner("fcclip", "mask_pool_logits", unused={"config": "sizes of the arrays"})
@parity_runner("maftplus", "mask_pool_logits", unused={"config": "sizes of the arrays"})
def run_pooling(case: ParityCase) -> Results:
    """Pool and score."""
    x = case.tensors()
    index = class_index(x["num_templates"])
    return {
        "pooled": mask_pool(x["x"], x["mask"]),
        "logits2d": class_scores(x["query"], x["text2d"], index, x["logit_scale"]),
        "logits3d": class_scores(x["query"], x["text3d"], index, x["logit_scale"]),
    }


@parity_runner("fcclip", "matcher", unused=DRAWN)
def run_matcher(case: ParityCase) -> Results:
    """Compute costs and assignments."""
    x, config = case.tensors(), case.config
    targets = targets_of(x, len(config["n_gt"]))
    weights = {f"{k}_weight": config[f"{s}_w"] for k, s in
               (("class", "class"), ("mask", "mask"), ("dice", "dice"))}  # fmt: skip

    def matcher() -> Matcher:
        return Matcher(points=config["points"], draw=RecordedDraws(case), **weights)

    pairs = matcher()(x["pred_logits"], x["pred_masks"], targets)
    costs = matcher()
    results: Results = {}
    for b, (target, (queries, segments)) in enumerate(zip(targets, pairs, strict=True)):
        results |= {f"src{b}": queries, f"tgt{b}": segments}
        results[f"cost{b}"] = costs.cost(x["pred_logits"][b], x["pred_masks"][b], target)
    return results


@parity_runner("fcclip", "criterion", unused=DRAWN)
def run_criterion(case: ParityCase) -> Results:
    """Compute all losses, their weighted total and its gradients."""
    x, config = case.tensors(), case.config
    heads, leaves = [], {}
    for i in range(config["dec_layers"] + 1):
        for kind in ("logits", "masks"):
            leaves[f"pred_{kind}{i}"] = x[f"pred_{kind}{i}"].requires_grad_()
        heads.append(HeadOutput(leaves[f"pred_logits{i}"], leaves[f"pred_masks{i}"]))
    draws = RecordedDraws(case)
    criterion = SetCriterion(
        Matcher(points=config["points"], draw=draws), points=config["points"], draw=draws
    )
    losses = criterion(heads, targets_of(x, len(config["n_gt"])))
    total = sum(losses.values())
    total.backward()
    factor = {"ce": 2.0, "mask": 5.0, "dice": 5.0}
    return {
        **{f"loss/{k}": v / factor[k.split("_")[1]] for k, v in losses.items()},
        "total_weighted": total,
        **{f"grad/{k}": v.grad for k, v in leaves.items()},
    }


@parity_runner("fcclip", "postprocess", unused=DRAWN)
def run_postprocess(case: ParityCase) -> Results:
    """Make all three outputs from given scores and masks."""
    x, config = case.tensors(), case.config
    size = (config["H"], config["W"])
    scores = MaskScores(x["mask_cls"], x["mask_pred"], size, size, size, logits_first=True)
    things = [k in config["things"] for k in range(config["K"])]
    ids, info = scores.panoptic(
        things, object_threshold=config["obj_thr"], overlap_threshold=config["ov_thr"]
    )
    found = scores.instances(config["topk"], things=things)
    return {
        "sem_seg": scores.full(),
        "panoptic_ids": ids,
        "panoptic_info": published_info(info),
        **instance_arrays(found),
    }


def published_info(info: list[dict]) -> str:
    """The segment records as the reference files hold them."""
    return json.dumps([{k: s[k] for k in ("id", "isthing", "category_id")} for s in info])


def instance_arrays(found: Instances, suffix: str = "") -> Results:
    """Instances in the order in which they were found."""
    return {
        f"inst_scores{suffix}": found.scores,
        f"inst_classes{suffix}": found.pred_classes,
        f"inst_masks{suffix}": found.pred_masks,
    }
