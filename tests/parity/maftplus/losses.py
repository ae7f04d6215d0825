"""Transfer, compensation and mask-aware loss of MAFT+."""

from __future__ import annotations

import torch

from maftplus.compensation import Compensation
from maftplus.mask_aware_loss import mask_aware_loss, mask_ious, rescale
from maftplus.published import rename
from maftplus.transfer import dense_embedding
from ovs_core.clip.conv_encoder import ConvEncoder

from ..runner import ParityCase, parity_runner
from .mask2former import Results, targets_of
from .names import published_name
from .tiny_models import tiny_clip, tiny_transfer

SIZES = {name: "size of an input" for name in ("E", "K", "config", "shape")}


@parity_runner("maftplus", "cdt", unused=SIZES)
def run_transfer(case: ParityCase) -> Results:
    """Embed a feature map, transfer text rows, differentiate."""
    x, config = case.tensors(), case.config
    clip, transfer = tiny_clip(config["clip"]), tiny_transfer(config)
    weights = rename(case.tensors("weights"))
    transfer.load_state_dict(
        {k.removeprefix("transfer."): v for k, v in weights.items() if k.startswith("transfer.")}
    )
    tower = {
        k.removeprefix("clip.model.visual."): v for k, v in weights.items() if k.startswith("clip.")
    }
    if clip.visual.load_state_dict(tower, strict=False).unexpected_keys:
        raise ValueError("the tower's head has other names")
    leaves = {k: x[k].requires_grad_() for k in ("clip_vis_dense", "text_classifier")}
    embedding = dense_embedding(
        ConvEncoder(clip.visual), leaves["clip_vis_dense"], layout=transfer.layout
    )
    out = transfer(embedding, leaves["text_classifier"])
    out.backward(x["cotangent"])
    return {
        "dense_embedding": embedding,
        "text_out": out,
        **{f"grad/{k}": v.grad for k, v in leaves.items()},
        **{
            f"grad/{published_name('transfer.' + name)}": p.grad
            for name, p in transfer.named_parameters()
        },
    }


@parity_runner("maftplus", "rc", unused=SIZES)
def run_compensation(case: ParityCase) -> Results:
    """Compare two maps."""
    x = case.tensors()
    loss = Compensation()(x["a"].requires_grad_(), x["b"])
    loss.backward()
    return {"loss": loss, "grad/a": x["a"].grad}


@parity_runner("maftplus", "rc_options")
@parity_runner("maftplus_options", "rc_options")
def run_compensation_options(case: ParityCase) -> Results:
    """Compare two maps by other options than training's."""
    x, config = case.tensors(), case.config
    compensation = Compensation(tuple(config["scales"]), config["prepro"], config["difference"])
    loss = compensation(x["student"].requires_grad_(), x["teacher"])
    loss.backward()
    return {"rc_loss": loss, "grad/student": x["student"].grad}


@parity_runner("maftplus", "ma", unused=SIZES)
def run_mask_aware(case: ParityCase) -> Results:
    """Compare class scores with IoUs."""
    x = case.tensors()
    targets = targets_of(x, case.config["B"])
    loss = mask_aware_loss(x["cls"].requires_grad_(), x["mask_logits"], targets)
    loss.backward()
    pairs = zip(x["mask_logits"], targets, strict=True)
    ious = [mask_ious(masks, target.masks) for masks, target in pairs]
    return {
        "loss": loss,
        "grad/cls": x["cls"].grad,
        "iou": torch.cat(ious),
        "iou_norm": torch.cat([rescale(i) for i in ious]),
    }
