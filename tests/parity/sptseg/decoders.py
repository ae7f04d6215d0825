"""High/low attention, decoder layers, the whole decoder, losses."""

from __future__ import annotations

import torch

from sptseg.decoder import describe
from sptseg.model import pixel_accuracy
from sptseg.window_scores import seen_biased

from ..reference_labels import canonical
from ..runner import ParityCase
from .common import (
    LAYERS,
    LOSS_NAMES,
    Holder,
    Results,
    enlarged,
    gradients,
    is_spectral,
    load,
    make_decoder,
    make_loss,
    runner,
)


@runner("hilo", methods=("sptseg",))
def run_hilo(case: ParityCase) -> Results:
    """High/low attention, gate, and the queries' attention."""
    grid, dim = (case.config["H"], case.config["W"]), case.config["hlfs"]["dim"]
    holder = Holder(decoder=make_decoder(dim, spectral=True, layers=1, feedforward=dim))
    attention, x = holder.decoder.layers[0].attention, case.tensors()
    holder.decoder.layers[0] = _Only(attention)
    published = {f"{LAYERS}0.hlfs.{name}": w for name, w in case.tensors("weights").items()}
    load(holder, published)
    patches, target = x["x"].requires_grad_(), x["tgt"].requires_grad_()
    query, memory = target.transpose(0, 1), attention.memory(patches, grid)
    logits, out = attention.logits(query, memory), attention.attend(query, memory).transpose(0, 1)
    ((out * x["r_out"]).sum() + (logits * x["r_attn"]).sum()).backward()
    high, low = attention.mixer.branches(patches, grid)
    named = {k.partition("hlfs.")[2]: g for k, g in gradients(holder, published)}
    return {
        "high_padded": high,
        "low_padded": low,
        "z": attention.mixer(patches, grid),
        "mask_logits": logits,
        "out": out,
        "grad/x": patches.grad,
        "grad/tgt": target.grad,
        **{f"grad/{k}": g for k, g in named.items()},
    }


@runner("decoder_layer")
def run_decoder_layer(case: ParityCase) -> Results:
    """One layer with its mask logits."""
    c, grid = case.config["layer"], (case.config["grid"],) * 2
    decoder = make_decoder(
        c["d_model"],
        spectral=is_spectral(case),
        layers=1,
        feedforward=c["dim_feedforward"],
        heads=c["nhead"],
    )
    published = {f"{LAYERS}0.{name}": w for name, w in case.tensors("weights").items()}
    holder = Holder(decoder=decoder)
    load(holder, published)
    layer, x = decoder.layers[0], case.tensors()
    target, source = x["tgt"].requires_grad_(), x["memory"].requires_grad_()
    query, patches = target.transpose(0, 1), source.transpose(0, 1)
    memory = layer.attention.memory(patches, grid)
    logits, result = layer.attention.logits(query, memory), layer(query, memory).transpose(0, 1)
    ((result * x["r_tgt"]).sum() + (logits * x["r_attn"]).sum()).backward()
    named = {k.removeprefix(f"{LAYERS}0."): g for k, g in gradients(holder, published)}
    return {
        "tgt": result,
        "mask_logits": logits,
        "grad/tgt": target.grad,
        "grad/memory": source.grad,
        **{f"grad/{k}": g for k, g in named.items()},
    }


@runner("decode_head")
def run_decode_head(case: ParityCase) -> Results:
    """Descriptor, layers, enlarged masks and test scores."""
    c, x = case.config["head"], case.tensors()
    case.require("config.head.num_all", len(x["text"]))
    decoder = make_decoder(
        c["dim"],
        spectral=is_spectral(case),
        layers=c["num_layers"],
        feedforward=4 * c["dim"],
        heads=c["num_heads"],
    )
    published = {f"decode_head.{name}": w for name, w in case.tensors("weights").items()}
    load(Holder(decoder=decoder), published)
    grid = tuple(x["visual"].shape[-2:])
    with torch.no_grad():
        memories, descriptor = decoder.memories(x["visual"]), describe(x["cls"], x["text"])
        out: Results = {"descriptor": descriptor, "query0": decoder.query(descriptor)}
        for i, (layer, memory) in enumerate(zip(decoder.layers, memories, strict=True)):
            logits = layer.attention.logits(out[f"query{i}"], memory)
            out[f"mask_logits{i + 1}"] = logits.unflatten(-1, grid)
            out[f"query{i + 1}"] = layer(out[f"query{i}"], memory)
        masks = decoder(x["cls"], memories, x["text"]).unflatten(-1, grid)
        out["pred_masks"] = enlarged(masks, (c["img_size"],) * 2)
        seen = torch.zeros(out["pred_masks"].shape[-3], dtype=torch.bool)
        seen[list(c["seen"])] = True
        out["scores_biased"] = seen_biased(out["pred_masks"], seen, 0.1)
        out["scores_plain"] = seen_biased(out["pred_masks"], seen, 0.0)
    return out


@runner("losses")
def run_losses(case: ParityCase) -> Results:
    """Weighted losses, their gradients, and the accuracy."""
    x = case.tensors()
    masks, labels = x["pred_masks"].requires_grad_(), canonical(x["label"])
    out: Results = {"acc_seg": pixel_accuracy(masks, labels).view(1)}
    for name, value in make_loss(case)(masks, labels).items():
        out[LOSS_NAMES[name]] = value
        (gradient,) = torch.autograd.grad(value, masks, retain_graph=True)
        out[f"grad/{LOSS_NAMES[name]}"] = gradient
    return out


class _Only(torch.nn.Module):
    """A layer of which the file holds the attention alone."""

    def __init__(self, attention: torch.nn.Module) -> None:
        super().__init__()
        self.attention = attention
