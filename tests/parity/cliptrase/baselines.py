"""The kinds of the methods that CLIPtrase is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cliptrase.last_steps import LastSteps
from cliptrase.maskclip import MaskClipTower, use_released_numerics
from cliptrase.scoring import CosineScorer, MaskClipScorer
from cliptrase.similarity import similarity_map, similarity_points
from cliptrase.surgery import SurgeryTower, feature_surgery
from cliptrase.tower import RecoveryTower, TowerRule
from ovs_core.modeling.protocols import Slide, Whole
from ovs_core.modeling.score_thresholds import ScoreThresholds
from ovs_core.modeling.scores import GridScores

from ..runner import Arrays, ParityCase, Tolerance, parity_runner
from .common import POSITIONS, Results, probability_tolerance, segmenter, tiny_clip, tolerance


@parity_runner("cliptrase", "plain", tolerance=tolerance)
@torch.no_grad()
def run_plain(case: ParityCase) -> Results:
    """Plain CLIP and SCLIP's attention under the stand-alone protocol."""
    clip = tiny_clip(case.meta["model"], case.tensors("weights"))
    text = torch.from_numpy(case.inputs["text_features"])
    out: Results = {}
    for mode in ("vanilla", "csa"):
        rule = TowerRule(attention=mode, corr_layer=None, positions=POSITIONS)
        model = segmenter(
            clip,
            text,
            tower=RecoveryTower(clip.visual, rule),
            scorer=CosineScorer(case.meta["logit_scale"]),
        )
        for name in case.meta["images"]:
            images = torch.from_numpy(case.inputs[name])
            dense = model.encode(images)
            logits = model.score(dense)
            maps = [GridScores(x, tuple(images.shape[-2:])).labels() for x in logits]
            out[f"{name}.{mode}.tokens"] = dense.tokens
            out[f"{name}.{mode}.patch_logits"] = logits
            out[f"{name}.{mode}.label_map"] = torch.stack(maps)
    return out


@parity_runner("cliptrase", "maskclip", tolerance=tolerance)
@torch.no_grad()
def run_maskclip(case: ParityCase) -> Results:
    """MaskCLIP as released, with its two refinements."""
    clip = tiny_clip(case.meta["model"], case.tensors("weights"))
    use_released_numerics(clip.visual)
    text = torch.from_numpy(case.inputs["text_features"])
    out: Results = {}
    for name in case.meta["images"]:
        images = torch.from_numpy(case.inputs[name])
        tower = MaskClipTower(clip.visual, keys=True)
        dense = tower(images)
        out[f"{name}.v_map"] = _values(clip.visual, tower, images)
        for setting, thresholds in case.meta["heads_cfg"].items():
            scorer = MaskClipScorer(
                thresholds["pd_thresh"], thresholds["ks_thresh"], unit_keys=False
            )
            out[f"{name}.{setting}.scores"] = scorer(dense, text)
        maps = [GridScores(x, tuple(images.shape[-2:])) for x in out[f"{name}.raw.scores"]]
        out[f"{name}.raw.label_map"] = torch.stack([m.labels() for m in maps])
    return out


def _values(visual: torch.nn.Module, tower: MaskClipTower, images: Tensor) -> Tensor:
    """Normed value features before the projection: the tower without its last matrix."""
    projection, visual.proj = visual.proj, None
    try:
        dense = tower(images)
    finally:
        visual.proj = projection
    return dense.patches.transpose(1, 2).unflatten(2, dense.grid)


@parity_runner("cliptrase", "surgery", tolerance=tolerance)
@torch.no_grad()
def run_surgery(case: ParityCase) -> Results:
    """CLIP-Surgery: two paths, feature surgery, similarity map, points."""
    clip = tiny_clip(case.meta["model"], case.tensors("weights"))
    text = torch.from_numpy(case.inputs["text_features"])
    redundant = torch.from_numpy(case.inputs["redundant_feature"])
    out: Results = {}
    for name in case.meta["images"]:
        dense = SurgeryTower(clip.visual)(torch.from_numpy(case.inputs[name]))
        tokens = F.normalize(dense.tokens, dim=-1)
        surgery = feature_surgery(tokens, text)
        size = tuple(case.meta["out_shape"][name])
        grid = surgery[:, 1:].transpose(1, 2).unflatten(2, dense.grid)
        points, labels = similarity_points(grid[0, 0], size, threshold=case.meta["point_t"])
        found: Results = {
            "tokens": dense.tokens,
            "cosine": tokens @ text.T,
            "surgery": surgery,
            "surgery_single": feature_surgery(tokens, text[:1], redundant),
            "sim_map": similarity_map(grid, size).permute(0, 2, 3, 1),
            "points": points,
            "point_labels": labels,
        }
        out |= {f"{name}.{key}": value for key, value in found.items()}
    return out


def sclip_tolerance(case: ParityCase, name: str, references: Arrays) -> Tolerance:
    """As elsewhere; label maps where no probability is near another."""
    if name.rpartition(".")[2] == "label_map":
        best = np.sort(references[name.replace("label_map", "probs")], axis=0)
        setting = case.meta["cases"][name.split(".")[0]]
        safe = best[-1] - best[-2] > 1e-5
        return Tolerance(where=safe & (np.abs(best[-1] - setting["prob_thd"]) > 1e-5))
    return probability_tolerance(case, name, references)


@parity_runner(
    "cliptrase",
    "sclip",
    tolerance=sclip_tolerance,
    unused={"stride": "a whole picture has none"},
)
@torch.no_grad()
def run_sclip(case: ParityCase) -> Results:
    """SCLIP's own protocol."""
    clip = tiny_clip(case.meta["model"], case.tensors("weights"))
    rule = TowerRule(attention="csa", corr_layer=None, positions=POSITIONS)
    tower = RecoveryTower(clip.visual, rule)
    out: Results = {}
    for name, setting in case.meta["cases"].items():
        text = torch.from_numpy(case.inputs[setting["text"]])
        image = torch.from_numpy(case.inputs[setting["image"]])[0]
        model = segmenter(clip, text, tower=tower, scorer=CosineScorer(1.0))
        found = _sclip_case(model, image, setting)
        found["tokens_csa"] = tower(image[None]).tokens
        out |= {f"{name}.{key}": value for key, value in found.items()}
    return out


def _sclip_case(model: Any, image: Tensor, setting: dict[str, Any]) -> Results:
    windows = (
        Slide(setting["crop"], setting["stride"], pad_small=False) if setting["crop"] else None
    )
    protocol = windows or Whole()
    size = tuple(setting["ori_shape"])
    scores = protocol.score(model, protocol.encode(model, image), size)
    rule = LastSteps(
        ScoreThresholds(setting["logit_scale"], setting["prob_thd"], setting["area_thd"]),
        pamr_steps=setting.get("pamr_steps", 0),
        pamr_dilations=tuple(setting.get("pamr_stride", ())),
    )
    cosines = rule.refine(scores.full(), image)
    finished = rule.thresholds(cosines, setting["query_idx"])
    found: Results = {
        "logits": cosines[None],
        "probs": finished.full(),
        "label_map": finished.labels(),
    }
    if setting.get("store_whole"):
        grid = model.score(model.encode(image[None]))[0]
        found["logits_whole"] = GridScores(grid, tuple(image.shape[-2:])).full()[None]
    return found
