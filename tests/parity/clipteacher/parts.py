"""The method's parts on reference vectors; see ``tools/check_parity.py clipteacher``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from torch import Tensor

from clipteacher.adapter import VisualLanguageAdapter
from clipteacher.fused_labels import class_centroids, fuse_labels
from clipteacher.glm import NEGATIVES, REDUCTIONS, GlobalLearning
from clipteacher.inference import add_unseen_bonus, class_logits
from clipteacher.losses import (
    GENERATE_REDUCTIONS,
    LossSettings,
    generate_loss,
    pixel_cross_entropy,
)
from clipteacher.mask_fusion import fuse_centers
from clipteacher.objective import Material, Objective
from clipteacher.pooling import POOLS, attention_weights, pool_dense
from clipteacher.potential import PotentialObjects
from clipteacher.teacher import TOKENS, Teacher
from ovs_core.evaluation.confusion import count_pairs, semseg_figures, split_figures
from ovs_core.modeling.label_argmax import argmax_upsample
from ovs_core.modeling.losses import MaskLoss, present_classes
from ovs_core.modeling.scores import GridScores

from ..runner import Arrays, ParityCase, Tolerance, largest_entry, parity_runner, stated
from ..tolerances import is_exact

Results = dict[str, "Tensor | np.ndarray"]
Run = Callable[[ParityCase], Results]
REPEATED = {
    "iterations": "how many there are of an input",
    "missing": "which classes the labels lack",
    "size": "of the labels",
    "void_share": "how the labels were drawn",
    "K": "channels of the scores",
    "grid": "of the masks",
    "margin": "how far the nearest decision is from a tie",
    "shift": "how the centres were drawn",
    "step": "how the centres were drawn",
}
RAW_TAU = 5.0  # of the files' one loss without normalisation


def runner(*kinds: str) -> Callable[[Run], Run]:
    """Register a runner with the bounds of the files' read-me."""
    return parity_runner("clipteacher", *kinds, tolerance=tolerance, unused=REPEATED)


def tolerance(case: ParityCase, name: str, references: Arrays) -> Tolerance:
    """A share of the largest entry for gradients, of max(1, largest) for values.

    The bound of gradients stands apart in some files; elsewhere it is the same figure.
    """
    if is_exact(references[name]):
        return Tolerance()
    if "grad" in name:
        apart = stated(case, "grad_tolerance") or stated(case)
        return Tolerance(of_max=apart[0], atol=1e-12)
    return Tolerance(atol=stated(case)[0] * max(1.0, largest_entry(references[name])))


@runner("glm")
def run_glm(case: ParityCase) -> Results:
    """Pooling, contrast and bank over several iterations."""
    x = case.tensors()
    cls, dense, valid = x["cls"], x["dense"], x["valid"].bool()
    out: Results = {
        "weights": torch.stack([attention_weights(d, c) for d, c in zip(dense, cls, strict=True)])
    }
    out["weights"] = out["weights"].flatten(2)
    for pool in POOLS:
        pooled = [pool_dense(d, c, pool) for d, c in zip(dense, cls, strict=True)]
        out[f"cls_hat_{pool}"] = torch.stack(pooled)
        out[f"cls_hat_{pool}_valid"] = pool_dense(dense[0], cls[0], pool, valid=valid)
    pairs = zip(dense, cls, strict=True)
    out["cls_hat_attention_unitq"] = torch.stack(
        [pool_dense(d, c, unit_query=True) for d, c in pairs]
    )
    for negatives in NEGATIVES:
        out |= _contrast(case, dense, cls, negatives)
    raw = _glm(case, normalize=False, tau=RAW_TAU)
    out["loss_raw_pool_mean"] = torch.stack([raw(d, c) for d, c in zip(dense, cls, strict=True)])
    return out


def _glm(case: ParityCase, **changed) -> GlobalLearning:
    config = case.config
    settings = {
        "tau": config["tau"],
        "bank_size": config["bank_iterations"],
        "normalize": config["normalize"],
        **changed,
    }
    return GlobalLearning(**settings)


def _contrast(case: ParityCase, dense: Tensor, cls: Tensor, negatives: str) -> Results:
    out: Results = {}
    for reduction in REDUCTIONS:
        glm = _glm(case, negatives=negatives, reduction=reduction)
        losses = [glm(d, c) for d, c in zip(dense, cls, strict=True)]
        out[f"loss_{negatives}_{reduction}"] = torch.stack(losses)
    single, logged = _glm(case, negatives=negatives), _glm(case, negatives=negatives)
    anchors, gradients = [], []
    for features, tokens in zip(dense, cls, strict=True):
        leaf = features.clone().requires_grad_()
        values = single.per_anchor(leaf, tokens)
        anchors.append(values.detach())
        # Without a negative the loss is the constant 0.
        gradients.append(torch.autograd.grad(values.mean(), leaf)[0])
        logits = logged.logits(features, tokens)
    out[f"per_anchor_{negatives}"] = torch.stack(anchors)
    out[f"grad_dense_{negatives}"] = torch.stack(gradients)
    out[f"logits_last_{negatives}"] = logits
    return out


@runner("pseudo_labels")
def run_pseudo_labels(case: ParityCase) -> Results:
    """Window means, K-means, fusion and canonical numbers, one picture per case."""
    x, out = case.tensors(), {}
    for entry in case.meta["cases"]:
        name = entry["case"]
        finder = _finder({**case.meta["defaults"], **entry, "thresh": entry["thresh_used"]})
        tokens, mask = x[f"{name}_tokens"][None], x[f"{name}_mask"].bool()[None]
        clusters = finder.cluster(tokens, mask)
        groups, count = finder(tokens, mask)
        usable, live = clusters.usable[0], clusters.live[0]
        position = usable.long().cumsum(0) - 1  # the files number the windows that take part
        assigned = clusters.assignment[0]
        out |= {
            f"{name}_start_centers": clusters.start[0][usable],
            f"{name}_assign": position[assigned[assigned >= 0]],
            f"{name}_live": position[live],
            f"{name}_centers": clusters.centers[0][live],
            f"{name}_groups": groups[0],
            f"{name}_count": count[0],
        }
    return out


def _finder(config: dict) -> PotentialObjects:
    return PotentialObjects(
        windows=config["windows"],
        window_mode=config.get("mode", "grid"),
        center_scope=config.get("scope", "all"),
        distance=config.get("distance", "cosine"),
        iterations=config.get("iters", config.get("kmeans_iters", 10)),
        threshold=config["thresh"],
        keep_leftover=config.get("keep_leftover", True),
    )


@runner("mask_fusion")
def run_mask_fusion(case: ParityCase) -> Results:
    """Fusion of given centres and masks."""
    x, out = case.tensors(), {}
    for entry in case.meta["cases"]:
        name = entry["case"]
        centers, masks = x[f"{name}_centers"], x[f"{name}_masks"]
        live = torch.ones(1, len(centers), dtype=torch.bool)
        for suffix, keep in (("keep", True), ("drop", False)):
            member = fuse_centers(centers[None], live, entry["thresh"], keep_leftover=keep)[0]
            count = int(member.max()) + 1 if len(member) else 0
            fused = [masks[member == group].sum(dim=0) for group in range(count)]
            out[f"{name}_member_{suffix}"] = member
            out[f"{name}_masks_{suffix}"] = torch.stack(fused) if fused else masks[:0]
    return out


@runner("fused_labels")
def run_fused_labels(case: ParityCase) -> Results:
    """Ignored tokens by three rules, labels on both grids, centroids."""
    x, config = case.tensors(), case.config
    padding, labels = x["pad"].bool(), _seen_labels(x["labels"], config["ignore_in"])
    case.require("config.ignore_out", -1)  # what no class is called in the fused labels
    out: Results = {}
    for rule in ("majority", "any", "nearest"):
        finder = PotentialObjects(token_rule=rule)
        mask = finder.token_mask(labels < 0, padding, tuple(config["token_grid"]))
        out[f"token_mask_{rule}"] = mask.long()
    fused = fuse_labels(
        labels,
        padding,
        x["group_maps"],
        seen=config["n_seen"],
        student_grid=tuple(config["student_grid"]),
    )
    classes = config["n_seen"] + int(fused.kept.sum())
    ids, centroids = class_centroids(x["dense"], fused.small, classes)
    return {
        **out,
        "fused": fused.full,
        "fused_small": fused.small,
        "kept": fused.kept,
        "centroid_ids": ids,
        "centroids": centroids,
    }


def _seen_labels(labels: Tensor, ignore: int = 255) -> Tensor:
    return labels.masked_fill(labels == ignore, -1)


@runner("losses")
def run_losses(case: ParityCase) -> Results:
    """Cross entropy, focal, dice and generate losses with their gradients."""
    x = case.tensors()
    logits, labels = x["logits"].requires_grad_(), x["fused"]
    shape = {"alpha": case.config["alpha"], "gamma": case.config["gamma"]}
    plain = MaskLoss(focal=1, dice=1, **shape)(logits, labels)
    masked = MaskLoss(focal=1, dice=1, skip_unnamed=True, **shape)(logits, labels)
    losses = {
        "ce": pixel_cross_entropy(logits, labels),
        "focal": plain["loss_focal"],
        "dice": plain["loss_dice"],
    }
    out: Results = {f"loss_{name}": value for name, value in losses.items()}
    for name, value in losses.items():
        out[f"grad_{name}"] = torch.autograd.grad(value, logits, retain_graph=True)[0]
    out["loss_ce_all_pixels"] = pixel_cross_entropy(logits, labels, all_pixels=True)
    out["loss_focal_masked"], out["loss_dice_masked"] = masked["loss_focal"], masked["loss_dice"]
    out["num_masks"] = present_classes(labels, logits.shape[1]).sum()
    for reduction in GENERATE_REDUCTIONS:
        value = generate_loss(x["prototypes"], x["text"], reduction)
        out[f"loss_generate_{reduction}"] = value
    out["loss_generate_empty"] = generate_loss(x["prototypes"][:0], x["text"][:0])
    return out


@runner("step")
def run_step(case: ParityCase) -> Results:
    """Whole steps; only the bank carries over."""
    x, out, config = case.tensors(), {}, case.config
    adapter = VisualLanguageAdapter(
        config["C"],
        kind=config["vla"],
        layers=config["layers"],
        heads=config["heads"],
        feedforward=config["ffn"],
        dropout=config["dropout"],
    )
    adapter.load_state_dict(case.tensors("weights"))
    weights = dict(config["loss_weights"])
    glm = GlobalLearning(
        pool=config["glm"],
        tau=config["tau"],
        bank_size=config["bank_iterations"],
        negatives=config["negatives"],
    )
    settings = LossSettings(glob=weights.pop("global"), **weights)
    objective = Objective(
        glm=glm, potential=_finder(config), adapter=adapter, settings=settings
    ).train()
    case.require("config.n_seen", len(x["text"]))
    for index in range(config["iterations"]):
        results = _one_step(objective, x, f"it{index}_")
        out |= {f"it{index}_{name}": value for name, value in results.items()}
    return out


def _one_step(objective: Objective, x: dict[str, Tensor], name: str) -> Results:
    dense, cls = x[f"{name}dense"].requires_grad_(), x[f"{name}cls"]
    labels = _seen_labels(x[f"{name}labels"])
    padding = torch.zeros_like(labels, dtype=torch.bool)
    step = objective(Material(dense, cls, x[f"{name}tokens"], labels, padding, x["text"]))
    total = sum(step.losses.values())
    objective.zero_grad()
    total.backward()
    pixels, weights = step.pixels, objective.settings
    gradients = {
        f"grad_vla/{key}": p.grad.clone() for key, p in objective.adapter.named_parameters()
    }
    losses = {
        key: step.losses[key] / weight
        for key, weight in (
            ("loss_global", weights.glob),
            ("loss_ce", weights.ce),
            ("loss_focal", weights.focal),
            ("loss_dice", weights.dice),
            ("loss_generate", weights.generate),
        )
    }
    return {
        **losses,
        **gradients,
        "loss_total": total,
        "grad_dense": dense.grad,
        "token_mask": pixels.token_mask.long(),
        "groups": pixels.groups,
        "fused": pixels.labels.full,
        "fused_small": pixels.labels.small,
        "kept": pixels.labels.kept,
        "cls_hat": pool_dense(dense, cls, objective.glm.pool),
        "centroid_ids": pixels.centroid_ids,
        "centroids": pixels.centroids,
        "prototypes": pixels.prototypes,
        "logits_small": pixels.logits,
    }


@runner("inference")
def run_inference(case: ParityCase) -> Results:
    """Bonus of unseen classes, enlargement, labels and figures."""
    x, config, out = case.tensors(), case.config, {}
    unseen, size = config["unseen"], tuple(config["image_size"])
    seen = [index for index in range(config["K"]) if index not in unseen]
    for index, gamma in enumerate(config["gammas"]):
        logits = class_logits(x["dense"], x["text"])
        maps = add_unseen_bonus(logits, slice(0, config["K"]), unseen, gamma)
        out[f"pred_{index}"] = torch.stack([argmax_upsample(one, size).long() for one in maps])
        if index == 0:
            out["scores_0"] = torch.stack([GridScores(one, size).full() for one in maps])
        truth = x["gt"].clamp(max=config["K"])  # 255 goes where the counts are ignored
        confusion = count_pairs(x[f"mixed_pred_{index}"], truth, config["K"])
        figures = semseg_figures(confusion.numpy())
        split = split_figures(figures, seen, unseen)
        summary = [figures.pacc, split["mIoU_S"], split["mIoU_U"], split["hIoU"]]
        out[f"iou_{index}"] = np.asarray(figures.iou_union) / 100
        out[f"summary_{index}"] = np.asarray(summary) / 100
    return out


@runner("clip_tokens")
def run_clip_tokens(case: ParityCase) -> Results:
    """CLS and dense tokens of the frozen tower at two grids."""
    config, x, out = case.config, case.tensors(), {}
    case.require("config.activation", "QuickGELU")
    if not config["pos_embed"].startswith("bicubic, align_corners=False, antialias=False"):
        raise ValueError(f"positions are resized as {config['pos_embed']}")
    visual = VisionTransformer(
        image_size=config["image_size"],
        patch_size=config["patch"],
        width=config["width"],
        layers=config["layers"],
        heads=config["heads"],
        mlp_ratio=4.0,
        output_dim=config["output_dim"],
        act_layer=QuickGELU,
    )
    weights = case.tensors("weights")
    visual.load_state_dict({k.removeprefix("visual."): v for k, v in weights.items()})
    for kind in TOKENS:
        teacher = Teacher(visual, tokens=kind)
        for index in range(len(config["sizes"])):
            images = x[f"image{index}"]
            out[f"cls{index}"], out[f"tokens_{kind}{index}"] = teacher(images)
            grid = teacher.encoder.grid(tuple(images.shape[-2:]))
            table = visual.positional_embedding
            native = tuple(visual.grid_size)
            out[f"pos_embed{index}"] = teacher.encoder.positions(table, native, grid)
    return out
