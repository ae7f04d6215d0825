"""Reference vectors of the metrics, run on the functions that the evaluators use."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pycocotools.coco import COCO

from cliptrase.published_metric import published_truth
from cliptrase.square_crop import crop_labels
from ovs_core.evaluation.background import fold_last_class
from ovs_core.evaluation.boundary import MAX_CLASSES, boundary_map
from ovs_core.evaluation.confusion import (
    count_pairs,
    mean_of_known,
    semseg_figures,
    smoothed_figures,
    split_figures,
)
from ovs_core.evaluation.instance import ap50_split
from ovs_core.evaluation.panoptic_quality import PanopticFigures, PanopticMatcher
from ovs_core.modeling.label_argmax import argmax_upsample
from ovs_core.modeling.score_thresholds import ScoreThresholds
from ovs_core.words.label_space import IGNORE, LabelSpace

from ..reference_labels import STORED_IGNORE
from ..runner import Arrays, ParityCase, Tolerance, parity_runner, stated
from ..tolerances import is_exact

Results = dict[str, Any]
ROUNDING = 1e-14  # the order of a sum in double precision
VOID = 0  # of id maps
_REPEATED = "repeats what the label maps hold"
DRAWN = {
    "absent_from_gt": _REPEATED, "absent_gt": _REPEATED, "absent_pred": _REPEATED,
    "gt_classes": _REPEATED, "gt_file_type": _REPEATED, "items": _REPEATED,
    "never_predicted": _REPEATED, "num_classes": _REPEATED, "pred_classes": _REPEATED,
}  # fmt: skip
_RECORD = "part of a COCO record that no figure asks for"
RECORDS = {
    name: _RECORD for name in ("area", "bbox", "file_name", "height", "iscrowd", "name", "width")
}
Pair = tuple[np.ndarray, np.ndarray]  # prediction, truth


def _close(case: ParityCase, name: str, references: Arrays) -> Tolerance:
    """Figures as far as the file states, everything else exactly."""
    exact = is_exact(references[name]) or "hist" in name
    figures = stated(case)
    if exact or not figures:
        return Tolerance(rtol=0.0 if exact else ROUNDING)
    return Tolerance(atol=figures[0])


def _rounded(case: ParityCase, name: str, references: Arrays) -> Tolerance:
    """Figures stored in float32."""
    exact = is_exact(references[name])
    return Tolerance() if exact else Tolerance(rtol=stated(case)[0])


def _sure_pixels(case: ParityCase, name: str, references: Arrays) -> Tolerance:
    """Labels where the two best scores are apart as far as the file states, figures likewise."""
    apart, points = stated(case)
    if name.startswith("argmax_"):
        return Tolerance(where=references[name.replace("argmax", "margin")] > apart)
    if name.startswith("margin_"):
        return Tolerance(atol=apart / 10)
    return Tolerance() if name == "conf" else Tolerance(atol=points)


def _sure_background(case: ParityCase, name: str, references: Arrays) -> Tolerance:
    """Labels where neither the best class nor the threshold is closer than the file states."""
    margin = stated(case)[0]
    if name == "class_score":
        return Tolerance(atol=margin / 10)
    second, best = np.sort(references["class_score"], axis=0)[-2:]
    sure = (best - second > margin) & (abs(best - case.meta["prob_thd"]) > margin)
    return Tolerance(where=sure)


@parity_runner("evaluation", "semseg", tolerance=_close, unused=DRAWN)
def run_semseg(case: ParityCase) -> Results:
    """Counts and all figures."""
    num_classes, ignore = case.meta["num_classes"], case.meta["ignore_label"]
    pairs = [_prepare(*pair, num_classes, ignore) for pair in _pairs(case)]
    result = _figures(_count(pairs, num_classes))
    if num_classes <= MAX_CLASSES:
        borders = _count(((boundary_map(p), boundary_map(t)) for p, t in pairs), num_classes)
        result["b_conf"] = borders
        result["BoundaryIoU"] = semseg_figures(borders).iou_union
    return result


@parity_runner("evaluation", "zeroshot", tolerance=_close, unused=DRAWN)
def run_zeroshot(case: ParityCase) -> Results:
    """Seen and unseen classes apart, by both rules."""
    num_classes, ignore = case.meta["num_classes"], case.meta["ignore_label"]
    counts = _count((_prepare(*p, num_classes, ignore) for p in _pairs(case)), num_classes)
    figures = semseg_figures(counts)
    split = split_figures(figures, case.meta["seen"], case.meta["unseen"])
    named = {k if k.endswith("_gt") else f"{k}_union": v for k, v in split.items()}
    return {**named, "conf": counts[:-1, :-1], "pACC": figures.pacc}


@parity_runner("evaluation", "resize_argmax", tolerance=_sure_pixels, unused=DRAWN)
def run_resize_argmax(case: ParityCase) -> Results:
    """Cut the padding, resize, argmax, score."""
    num_classes, ignore = case.meta["num_classes"], case.meta["ignore_label"]
    result, pairs = {}, []
    for i in range(case.meta["images"]):
        height, width = case.inputs[f"image_size_{i}"]
        truth = case.inputs[f"gt_{i}"]
        logits = torch.from_numpy(case.inputs[f"logits_{i}"])[:, :height, :width]
        labels = argmax_upsample(logits, truth.shape).numpy()
        full = F.interpolate(logits[None], size=truth.shape, mode="bilinear")[0]
        best, second = full.topk(2, dim=0).values
        result |= {f"argmax_{i}": labels, f"margin_{i}": best - second}
        pairs.append(_prepare(labels, truth, num_classes, ignore))
    return result | _figures(_count(pairs, num_classes))


@parity_runner("evaluation", "voc20b", tolerance=_close, unused=DRAWN)
def run_voc20b(case: ParityCase) -> Results:
    """More words than classes, the rest of them being the background."""
    num_classes, ignore = case.meta["num_classes"], case.meta["ignore_label"]
    case.require("images", 1)
    labels = torch.from_numpy(case.inputs["logits_0"]).argmax(0)
    case.require("num_text_classes", len(case.inputs["logits_0"]))
    labels = fold_last_class(labels, case.meta["background_index"]).numpy()
    pair = _prepare(labels, case.inputs["gt_0"], num_classes, ignore)
    return {"pred_0": labels, **_figures(_count([pair], num_classes))}


@parity_runner("evaluation", "cliptrase_metric", tolerance=_close, unused=DRAWN)
def run_cliptrase_metric(case: ParityCase) -> Results:
    """Labels cut to the square crop; smoothed figures."""
    num_classes, background = case.meta["metric_classes"], case.meta["with_background"]
    result, pairs = {}, []
    for i in range(case.meta["images"]):
        labels = crop_labels(case.inputs[f"gt_file_{i}"], case.meta["size"])
        truth = published_truth(labels, num_classes, background=background)
        result[f"gt_{i}"] = truth
        prediction = case.inputs[f"pred_{i}"].astype(np.int32)
        pairs.append((prediction.clip(max=num_classes - 1), _drop_others(truth, num_classes)))
    counts = _count(pairs, num_classes)
    figures = {k.replace("ACC", "Acc"): v for k, v in smoothed_figures(counts).items()}
    published = {k.replace("ACC", "Acc"): round(v, 2) for k, v in smoothed_figures(counts).items()}
    return {
        **result,
        **figures,
        "hist": counts[:-1, :-1].T.astype(np.float64),
        "meta.published_rounding": {k: published[k] for k in case.meta["published_rounding"]},
    }


@parity_runner("evaluation", "background_threshold", tolerance=_sure_background)
def run_background_threshold(case: ParityCase) -> Results:
    """SCLIP's rule for unsure pixels."""
    meta = case.meta
    case.require("num_classes", max(meta["query_to_class"]) + 1)
    thresholds = ScoreThresholds(meta["logit_scale"], meta["prob_thd"], meta["area_thd"])
    scores = thresholds(torch.from_numpy(case.inputs["logits"]), meta["query_to_class"])
    return {"pred": scores.labels(), "class_score": scores.full()}


@parity_runner("evaluation", "panoptic", tolerance=_close, unused=RECORDS)
def run_panoptic(case: ParityCase) -> Results:
    """Panoptic quality, percent."""
    case.require("images", len(case.meta["gt_segments"]))
    case.require("void_id", VOID)
    images = zip(case.meta["gt_segments"], case.meta["pred_segments"], strict=True)
    matcher = PanopticMatcher([c["id"] for c in case.meta["categories"]])
    for i, (truth, predicted) in enumerate(images):
        maps = case.inputs[f"gt_{i}"], case.inputs[f"pred_{i}"]
        matcher.add(maps[0], truth, maps[1], predicted)
    tp, fp, fn, _ = matcher.counts.sums
    result = {"tp": tp, "fp": fp, "fn": fn, "iou_sum": matcher.counts.iou}
    for name, (pq, sq, rq, number) in _panoptic_means(case, matcher).items():
        percent = {f"pq_{name}": 100 * pq, f"sq_{name}": 100 * sq, f"rq_{name}": 100 * rq}
        result |= {**percent, f"n_{name}": number}
    return result


@parity_runner("evaluators", "panoptic_quality", tolerance=_close, unused=RECORDS)
def run_panoptic_quality(case: ParityCase) -> Results:
    """Panoptic quality, fractions."""
    matcher = PanopticMatcher([c["id"] for c in case.meta["categories"]])
    for n, image in enumerate(case.meta["images"]):
        maps = case.inputs[f"gt_ids{n}"], case.inputs[f"pred_ids{n}"]
        matcher.add(maps[0], image["gt_segments"], maps[1], image["pred_segments"])
    figures = PanopticFigures.of(matcher.counts)
    tp, fp, fn, _ = matcher.counts.sums
    means = {k.capitalize(): np.array(v) for k, v in _panoptic_means(case, matcher).items()}
    shares = {"pq": figures.pq, "sq": figures.sq, "rq": figures.rq, "iou": matcher.counts.iou}
    columns = {**shares, "tp": tp, "fp": fp, "fn": fn}
    return {**{f"class_{k}": v for k, v in columns.items()}, **means}


@parity_runner("evaluation", "ap50_base_novel", tolerance=_close, unused=RECORDS)
def run_ap50(case: ParityCase) -> Results:
    """AP50 of base and novel categories."""
    case.require("max_dets", 100)
    truth = COCO()
    truth.dataset = case.meta["gt"]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints that it makes an index
        truth.createIndex()
    means, values = ap50_split(
        truth, case.meta["detections"], base=case.meta["base"], novel=case.meta["novel"]
    )
    return {**means, "ap50_per_category": list(values.values()), "categories": list(values)}


@parity_runner("evaluators", "semseg_eval", unused=DRAWN)
def run_semseg_eval(case: ParityCase) -> Results:
    """The two rules for mIoU."""
    num_classes, ignore = case.config["K"], case.config["ignore"]
    pairs = zip(case.inputs["pred"], case.inputs["gt"], strict=True)
    counts = _count((_prepare(*p, num_classes, ignore) for p in pairs), num_classes)
    figures = _figures(counts)
    shared = {k: figures[k] for k in ("fwIoU", "mACC", "pACC", "IoU")} | {"confusion": counts}
    rules = {"d2_head": figures["mIoU"], "maft_repo": figures["mIoU_union"]}
    return {f"{r}/{k}": v for r, m in rules.items() for k, v in {**shared, "mIoU": m}.items()}


@parity_runner("cliptrase", "metrics", tolerance=_close)
def run_cliptrase_metrics(case: ParityCase) -> Results:
    """The stand-alone figures (rounded as published) and Detectron2's on the same maps."""
    result = {}
    for name, facts in case.meta["cases"].items():
        num_classes, maps = facts["n_class"], range(facts["n_maps"])
        case.require(f"cases.{name}.ignore", STORED_IGNORE)
        truths = (_drop_others(case.inputs[f"{name}.gt{i}"], num_classes) for i in maps)
        predictions = (case.inputs[f"{name}.pred{i}"] for i in maps)
        counts = _count(zip(predictions, truths, strict=True), num_classes)
        own, usual = smoothed_figures(counts), semseg_figures(counts)
        order = ("pACC", "mACC", "fwIoU", "mIoU")
        result[f"{name}.standalone"] = [round(own[key], 2) for key in order]
        result[f"{name}.hist"] = counts[:-1, :-1].T.astype(np.float64)
        result[f"{name}.d2"] = [usual.miou, usual.fwiou, usual.macc, usual.pacc]
    return result


@parity_runner("zegclip", "metrics", tolerance=_rounded)
def run_zegclip_metrics(case: ParityCase) -> Results:
    """MMSegmentation's figures, fractions."""
    facts = case.config
    num_classes, ignore = facts["num_classes"], facts["ignore"]
    maps = ((case.inputs[f"pred{i}"], case.inputs[f"label{i}"]) for i in range(facts["images"]))
    counts = _count((_prepare(*pair, num_classes, ignore) for pair in maps), num_classes)
    figures = semseg_figures(counts)
    split = split_figures(figures, facts["seen"], facts["unseen"])
    percent = {
        "IoU": figures.iou_union,
        "Acc": figures.acc,
        "pAcc": figures.pacc,
        "mIoU": figures.miou_union,
        "mAcc": mean_of_known(figures.acc),
        "mIoU_seen": split["mIoU_S"],
        "mIoU_unseen": split["mIoU_U"],
        "hIoU": split["hIoU"],
    }
    return {name: np.asarray(value) / 100 for name, value in percent.items()}


def _pairs(case: ParityCase) -> list[Pair]:
    count = case.meta["images"]
    return [(case.inputs[f"pred_{i}"], case.inputs[f"gt_{i}"]) for i in range(count)]


def _prepare(prediction: np.ndarray, truth: np.ndarray, num_classes: int, ignore: int) -> Pair:
    truth = LabelSpace(num_classes, ignore).canonical(truth, path="reference truth")
    return prediction.astype(np.int32), np.where(truth == IGNORE, num_classes, truth)


def _drop_others(truth: np.ndarray, num_classes: int) -> np.ndarray:
    return np.where((truth >= 0) & (truth < num_classes), truth, num_classes)


def _count(pairs: Iterable[Pair], num_classes: int) -> np.ndarray:
    tensors = ([torch.from_numpy(np.asarray(x)) for x in pair] for pair in pairs)
    return sum(count_pairs(*pair, num_classes) for pair in tensors).numpy()


def _figures(counts: np.ndarray) -> Results:
    figures = semseg_figures(counts)
    return {
        "conf": counts,
        "mIoU": figures.miou,
        "mIoU_union": figures.miou_union,
        "fwIoU": figures.fwiou,
        "mACC": figures.macc,
        "pACC": figures.pacc,
        "IoU": figures.iou,
        "IoU_union": figures.iou_union,
        "ACC": figures.acc,
    }


def _panoptic_means(case: ParityCase, matcher: PanopticMatcher) -> dict[str, tuple]:
    things = np.array([bool(c["isthing"]) for c in case.meta["categories"]])
    groups = {"all": np.ones_like(things), "things": things, "stuff": ~things}
    figures = PanopticFigures.of(matcher.counts)
    return {name: figures.mean(group) for name, group in groups.items()}
