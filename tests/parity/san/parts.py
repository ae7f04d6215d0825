"""CLIP up to the split, the side adapter, recognition, classes, matching and losses."""

from __future__ import annotations

import json

import numpy as np
import torch

from ovs_core.clip.architectures import model_config
from ovs_core.clip.tokenizer import build_tokenizer
from ovs_core.modeling.mask2former import HeadOutput, Matcher, SetCriterion, build_criterion
from san.recognition import biased_mask

from ..maftplus.mask2former import RecordedDraws, targets_of
from ..maftplus.tiny_models import TEMPLATES
from ..runner import ParityCase, parity_runner
from .repeated import REPEATED, WITHOUT_TOWER
from .tiny_models import Results, config_of, gradient, published_parameters, tiny_san, watched


@parity_runner("san", "clip_features", unused=REPEATED)
def run_features(case: ParityCase) -> Results:
    """Run CLIP up to the split."""
    model = tiny_san(case)
    seen: list[torch.Tensor] = []  # the tokens that leave ``ln_pre`` and every block
    visual = model.clip.visual
    layers = [visual.ln_pre, *visual.transformer.resblocks[: model.recognition.split]]
    hooks = [layer.register_forward_hook(lambda _, __, out: seen.append(out)) for layer in layers]
    levels, _, _ = model.features(case.tensors()["clip_input"])
    for hook in hooks:
        hook.remove()
    results: Results = {str(level): maps for level, maps in levels.items()}
    return results | {f"{i}_cls_token": tokens[None, :, 0] for i, tokens in enumerate(seen)}


@parity_runner("san", "side_adapter", unused=REPEATED)
def run_adapter(case: ParityCase) -> Results:
    """Run the adapter on given features, and differentiate."""
    model, x = tiny_san(case), case.tensors()
    training = case.config["training"]
    levels = {int(k.split("/")[1]): v for k, v in x.items() if k.startswith("clip/")}
    for maps in levels.values():
        maps.requires_grad_(training)
    with watched(model) as seen, torch.set_grad_enabled(training):
        outputs = model.side_adapter(x["images"], levels, every_block=training)
    results = {k: v for k, v in seen.items() if not k.startswith("biases")}
    for k, one in enumerate(outputs):
        results |= {f"attn_bias{k}_layer{i}": bias for i, bias in enumerate(one.biases)}
    if training:
        parts = [tensor for one in outputs for tensor in (one.masks, *one.biases)]
        objective = sum(part.square().mean() for part in parts)
        objective.backward()
        results["objective"] = objective
        results |= {f"grad/{n}": gradient(p) for n, p in published_parameters(model)}
        results |= {f"grad/clip/{level}": maps.grad for level, maps in levels.items()}
    return results


@parity_runner("san", "recognition", unused=REPEATED)
def run_recognition(case: ParityCase) -> Results:
    """Recognise with given biases, and differentiate with respect to them."""
    x, recognition = case.tensors(), (model := tiny_san(case)).recognition
    names = sorted(n for n in x if n.startswith("attn_bias_layer"))
    biases = [x[name].requires_grad_() for name in names]
    grid = tuple(x["features"].shape[-2:])
    patches = x["features"].flatten(2).transpose(1, 2)
    tokens = torch.cat([x["cls_token"].transpose(0, 1), patches], dim=1)
    with watched(model) as seen:
        vectors = recognition(tokens, grid, biases)
    vectors.backward(x["cotangent"])
    fitted = [recognition.fit(bias.detach(), grid) for bias in biases]
    results: Results = {n.replace("head0_", ""): v for n, v in seen.items()}
    results["mask_embed"] = vectors
    results["full_bias_layer0_head0"] = biased_mask(fitted[0].flatten(3))[0, 0]
    for i, (bias, maps) in enumerate(zip(biases, fitted, strict=True)):
        results |= {f"bias_on_clip_grid_layer{i}": maps, f"grad/attn_bias_layer{i}": bias.grad}
    return results


@parity_runner("san", "text_classifier", unused=REPEATED)
def run_classes(case: ParityCase) -> Results:
    """Make prompts and the rows that masks are compared with."""
    model = tiny_san(case)
    prompts = model.vocabulary.prompts(TEMPLATES)
    name = "ViT-B-16-quickgelu"
    tokens = build_tokenizer(name, model_config(name))(prompts)
    rows = model.class_rows()
    per_class = [prompts[i : i + len(TEMPLATES)] for i in range(0, len(prompts), len(TEMPLATES))]
    return {
        "text_scaled": rows,
        "text_unit": rows / model.clip.parts.logit_scale.exp(),
        "strings": np.array(json.dumps(per_class)),
        "tokens": tokens.long(),
    }


def recording(case: ParityCase) -> SetCriterion:
    """The config's criterion, which draws what a file recorded."""
    criterion = build_criterion(config_of(case).MODEL.SAN)
    criterion.draw = criterion.matcher.draw = RecordedDraws(case)
    return criterion


@parity_runner("san", "criterion", unused=WITHOUT_TOWER)
def run_criterion(case: ParityCase) -> Results:
    """Match every head, and compute all losses, their weighted total and its gradients."""
    x, count = case.tensors(), case.config["supervised_heads"]
    leaves, heads = {}, []
    for k in range(count):
        for kind in ("class_logits", "mask_logits"):
            leaves[f"{kind}{k}"] = x[f"{kind}{k}"].requires_grad_()
        heads.append(HeadOutput(leaves[f"class_logits{k}"], leaves[f"mask_logits{k}"]))
    targets = targets_of(x, len(x["class_logits0"]))
    criterion = recording(case)
    with watched_matches(criterion.matcher) as matches:
        losses = criterion(heads, targets)
    total = sum(losses.values())
    total.backward()
    factors = {"ce": criterion.class_weight, "mask": criterion.mask_weight}
    factors["dice"] = criterion.dice_weight
    results: Results = {
        f"loss_unweighted/{name}": loss / factors[name.split("_")[1]]
        for name, loss in losses.items()
    }
    results |= matches | {"total_weighted": total}
    return results | {f"grad/{name}": leaf.grad for name, leaf in leaves.items()}


class watched_matches:  # noqa: N801 - read as a function
    """Keep what a matcher assigns, and its costs: of the last head first, then of the others."""

    def __init__(self, matcher: Matcher) -> None:
        self.matcher, self.calls = matcher, []
        self.results: Results = {}

    def __enter__(self) -> Results:
        kind, cost = type(self.matcher), self.matcher.cost

        def costs(logits, masks, target, picture=0):
            found = cost(logits, masks, target, picture)
            head = len(self.calls) // self.pictures
            suffix = f"_{head - 1}" if head else ""
            self.results[f"match{suffix}/cost{picture}"] = found
            self.calls.append(picture)
            return found

        watched_kind = type("Watched", (kind,), {"__call__": self.call})
        self.matcher.__class__ = watched_kind
        self.matcher.cost, self.kind = costs, kind
        return self.results

    def call(self, *args):
        """Assign, and keep it."""
        self.pictures = len(args[-1])
        head = len(self.calls) // self.pictures
        suffix = f"_{head - 1}" if head else ""
        pairs = self.kind.__call__(self.matcher, *args[-3:])
        for b, (queries, segments) in enumerate(pairs):
            self.results |= {f"match{suffix}/src{b}": queries, f"match{suffix}/tgt{b}": segments}
        return pairs

    def __exit__(self, *_) -> None:
        self.matcher.__class__ = self.kind
        del self.matcher.cost
