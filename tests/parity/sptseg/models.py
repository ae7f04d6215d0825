"""Whole models: training steps and sliding-window evaluation."""

from __future__ import annotations

import torch
from torch import Tensor

from ovs_core.modeling.protocols import Slide
from ovs_core.words.vocabulary import Vocabulary
from sptseg.model import SPTSeg, pixel_accuracy
from sptseg.published import our_name

from ..reference_labels import canonical, stored
from ..runner import ParityCase
from .common import (
    LOSS_NAMES,
    Results,
    enlarged,
    gradients,
    is_spectral,
    load,
    make_clip,
    make_decoder,
    make_encoder,
    make_loss,
    make_tower,
    runner,
)


@runner("train_step")
def run_train_step(case: ParityCase) -> Results:
    """Losses, gradients and two AdamW steps."""
    model, start = _model(case)
    x, published = case.tensors(), case.tensors("weights")
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-4, weight_decay=0.01)
    out: Results = {}
    for step in range(case.config["optim_steps"]):
        logits = model.masks(model.encode(x["img"]), model.trained_text())
        labels = model.targets(canonical(x["label"]), logits)
        losses = model.loss(logits, labels)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        if step == 0:
            out = _results(model, logits, labels, losses)
            mapped = model.split.map_labels(canonical(x["label"]), model.mode)
            out["label_after_mapping"] = stored(mapped)
            out |= {f"grad/{k}": g.clone() for k, g in gradients(model, published)}
        optimizer.step()
    state = model.state_dict()
    _check_trained(case, model)
    moved = {k: our_name(k) for k in published if our_name(k) in start}
    return out | {f"delta/{k}": state[ours] - start[ours] for k, ours in moved.items()}


@runner("eval")
def run_eval(case: ParityCase) -> Results:
    """Sliding windows: averaged scores, scores at the original size, labels."""
    model, _ = _model(case)
    c, x = case.config["model"], case.tensors()
    model.eval().protocol = Slide(c.get("crop", c["img_size"]), c["stride"])
    out: Results = {}
    with torch.no_grad():
        for i, size in enumerate(case.config["ori_shapes"]):
            picture = x[f"img{i}"][0]
            encoded = model.protocol.encode(model, picture)
            merged = model.score_picture(encoded, tuple(picture.shape[-2:]))
            scores = model.score_picture(encoded, tuple(size))
            resized = scores.full()
            best = resized.topk(2, dim=0).values
            out[f"scores{i}"], out[f"scores_resized{i}"] = merged.full()[None], resized[None]
            out[f"labels{i}"], out[f"margin{i}"] = scores.labels()[None], (best[0] - best[1])[None]
    return out


def _check_trained(case: ParityCase, model: SPTSeg) -> None:
    """Compare what trains with the file's sentence.

    Raises:
        ValueError: if another tensor trains, or one of these does not.
    """
    spectral = " and complex_weight" if is_spectral(case) else ""
    sentence = f'names containing "prompt"{spectral} in backbone, everything in decode_head'
    case.require("trainable", sentence)
    parameters = dict(model.named_parameters())
    for published in case.weights:
        parameter = parameters.get(our_name(published))
        part, _, name = published.partition(".")
        expected = part == "decode_head" or "prompt" in name or name == "complex_weight"
        if parameter is not None and parameter.requires_grad != expected:
            raise ValueError(f"{published}: trains {parameter.requires_grad}, expected {expected}")


def _results(model: SPTSeg, logits: Tensor, labels: Tensor, losses: dict[str, Tensor]) -> Results:
    return {
        "pred_masks": enlarged(logits, tuple(labels.shape[-2:])),
        "label_used_by_loss": stored(labels),
        "decode.acc_seg": pixel_accuracy(logits, labels).view(1),
        "total_loss": sum(losses.values()),
        **{f"decode.{LOSS_NAMES[k]}": v.view(1) for k, v in losses.items()},
    }


class _GivenText(SPTSeg):
    """A model whose class embeddings come from the file."""

    given: Tensor

    def text_features(self) -> Tensor:
        return self.given


def _model(case: ParityCase) -> tuple[SPTSeg, dict[str, Tensor]]:
    """The model of a file and its weights in our names."""
    c, text = case.config["model"], case.tensors()["text"]
    tower = make_tower(c["img_size"], c["patch"], c["width"], c["layers"], c["heads"], c["dim"])
    encoder = make_encoder(
        tower,
        c.get("crop", c["img_size"]),
        tokens=c["tokens"],
        depth=c["depth"],
        spectral=is_spectral(case),
    )
    decoder = make_decoder(
        c["dim"],
        spectral=is_spectral(case),
        layers=c["dlayers"],
        feedforward=4 * c["dim"],
        heads=c["dheads"],
    )
    unseen = [i for i in c["both"] if i not in c["base"]]
    mode = "transductive" if c.get("self_training") else "inductive" if unseen else "fully"
    model = _GivenText(
        encoder=encoder,
        decoder=decoder,
        loss=make_loss(case),
        mode=mode,
        crop=c["img_size"],
        clip=make_clip(tower, c["dim"]),
        templates=["{}"],
    )
    model.given = text
    names = [f"class {i}" for i in range(len(text))]
    model.set_vocabulary(Vocabulary.from_names(names), unseen=unseen)
    return model, load(model, case.tensors("weights"))
