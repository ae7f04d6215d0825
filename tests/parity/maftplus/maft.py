"""MAFT: IP-CLIP, its two losses, inference on given proposals."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import open_clip
import torch
from detectron2.structures import BitMasks, Instances
from torch import Tensor, nn

from maftplus.maft.ip_clip import ProposalEncoder
from maftplus.maft.model import MAFT
from maftplus.maft.network import ProposalNetwork
from maftplus.mask_aware_loss import mask_ious, rescale
from ovs_core.clip import CLIP, TextEmbedder
from ovs_core.modeling.mask2former import Prediction
from ovs_core.words.vocabulary import Vocabulary

from ..runner import Arrays, ParityCase, Tolerance, default_tolerance, parity_runner
from .mask2former import Results, targets_of
from .tiny_models import RecordedTexts

_TOWER, _ORIGINAL = "IPCLIP.", "clip_adapter.clip_model.visual."
_NOTHING = "clip_adapter.non_object_embedding"
# Parts of a published block; open_clip registers them in another order.
_ORDER = ("attn", "ln_1", "ln_2")
GIVEN = {name: "seen in the inputs" for name in ("queries", "run", "names", "b", "sizes")}


def small_loss_tolerance(case: ParityCase, name: str, references: Arrays) -> Tolerance:
    """The file's rule; the distillation is so small that its absolute part would hide all of it."""
    stated = default_tolerance(case, name, references)
    return replace(stated, atol=0.0) if name == "loss/dis_loss" else stated


class GivenProposals(ProposalNetwork):
    """Stands for the trained network: gives the recorded masks and class scores."""

    def __init__(self, inputs: dict[str, Tensor]) -> None:
        super().__init__(nn.Identity(), nn.Identity(), nn.Identity())
        self.prediction = Prediction(inputs["pred_logits"], inputs["pred_masks"])
        self.trained.fill_(True)

    def forward(self, images: Tensor, *, every_head: bool = False) -> list[Prediction]:
        """Give them whatever the pictures are."""
        return [self.prediction]


class RecordedMAFT(MAFT):
    """The product with recorded class scores of the proposal network."""

    def trained_scores(self, prediction: Prediction, rows: Tensor, index: Any) -> Tensor:
        """Give the scores that stand in the place of the class embeddings."""
        return prediction.class_embedding


def tiny_vit_clip(config: dict) -> CLIP:
    """Build the ViT of a file's ``clip`` entry."""
    model = open_clip.CLIP(
        config["embed"],
        {
            "image_size": config["native"],
            "patch_size": config["patch"],
            "width": config["width"],
            "layers": config["layers"],
            "head_width": config["width"] // config["heads"],
        },
        {"context_length": 8, "vocab_size": 32, "width": 16, "heads": 2, "layers": 1},
        quick_gelu=True,
    )
    model.eval().requires_grad_(False)
    return CLIP(model, list, architecture="tiny", pretrained="reference file")


def part(case: ParityCase, prefix: str) -> dict[str, Tensor]:
    """Weights of one part of the published model."""
    weights = case.tensors("weights").items()
    return {name.removeprefix(prefix): w for name, w in weights if name.startswith(prefix)}


def tiny_maft(case: ParityCase) -> RecordedMAFT:
    """Build the model of a file with its weights and words."""
    config, inputs = case.config, case.tensors()
    clip = tiny_vit_clip(config["clip"])
    clip.visual.load_state_dict(part(case, _TOWER))

    def original(_: object) -> nn.Module:
        visual = tiny_vit_clip(config["clip"]).visual
        visual.load_state_dict(part(case, _ORIGINAL))
        return visual

    model = RecordedMAFT(
        clip=clip,
        templates=["{}"],
        proposals=GivenProposals(inputs),
        build_original=original,
        start_layer=config["clip"]["start"],
        clip_size=config["run"],
        ensemble_weight=config.get("weight", 0.0),
        output="scores",
    )
    names = config["names"]
    recorded = dict(zip(names, inputs["text"], strict=True))
    model.text_embedder = TextEmbedder(RecordedTexts(clip, recorded), folder="")
    model.text_rows.void.load_state_dict({"weight": case.tensors("weights")[_NOTHING]})
    flags = config.get("trainable_flag", [0] * len(names))
    model.set_vocabulary(
        Vocabulary.from_names(names, synonyms=[[name] for name in names]),
        unseen=[k for k, flag in enumerate(flags) if not flag],
    )
    return model


@parity_runner("maft", "ip_clip", unused=GIVEN)
def run_ip_clip(case: ParityCase) -> Results:
    """Run the encoder with and without masks."""
    x, config = case.tensors(), case.config
    clip = tiny_vit_clip(config["clip"])
    clip.visual.load_state_dict(part(case, _TOWER))
    clip.visual.requires_grad_(True)
    encoder = ProposalEncoder(clip.visual, start=config["clip"]["start"])
    masks = x["masks"].requires_grad_()
    layers = range(config["clip"]["layers"])
    with torch.no_grad():
        _, taps = encoder.run(x["clip_images"], masks, taps=layers)
        whole = encoder.embed_pictures(x["clip_images"])
    embedding = encoder.embed_masks(x["clip_images"], masks)
    embedding.backward(x["cotangent"])
    return {
        **{f"block{i}": tokens for i, tokens in taps.items()},
        "mask_embed": embedding,
        "whole_picture": whole,
        "mask_receives_gradient": int(masks.grad is not None),
        **{f"grad/{_TOWER}{name}": p.grad for name, p in clip.visual.named_parameters()},
    }


@parity_runner("maft", "train", tolerance=small_loss_tolerance, unused=GIVEN)
def run_training(case: ParityCase) -> Results:
    """Compute both losses and their gradients."""
    x, model = case.tensors(), tiny_maft(case).train()
    batch = []
    for b in range(len(case.config["sizes"])):
        masks = x[f"masks{b}"]
        instances = Instances(tuple(masks.shape[-2:]))
        instances.gt_classes, instances.gt_masks = x[f"labels{b}"], BitMasks(masks)
        batch.append({"image": x[f"image{b}"], "instances": instances})
    losses = model(batch)
    results: Results = {f"loss/{name}": loss for name, loss in losses.items()}
    named = [(n, p) for n, p in model.clip.visual.named_parameters() if p.requires_grad]
    names = sorted((name for name, _ in named), key=_place)
    results["trained"] = json.dumps([_TOWER + name for name in names])
    wanted = {
        "grad_ma": losses["ma_loss"],
        "grad_dis": losses["dis_loss"],
        "grad": sum(losses.values()),
    }
    for group, loss in wanted.items():
        found = torch.autograd.grad(loss, [p for _, p in named], retain_graph=True)
        results |= {f"{group}/{_TOWER}{n}": g for (n, _), g in zip(named, found, strict=True)}
    return results | _train_parts(model, batch, targets_of(x, len(batch)))


def _place(name: str) -> tuple[float, int]:
    """Where a name stands among the published parameters; those of a part keep their order."""
    if name.startswith("ln_post"):
        return float("inf"), 0
    block, part = name.split(".")[2:4]
    return int(block), _ORDER.index(part)


def _train_parts(model: MAFT, batch: list[dict[str, Any]], targets: list[Any]) -> Results:
    pictures, size = [one["image"] for one in batch], model.padded_size(batch)
    _, masks = model.propose(pictures, size)
    shown = model.shown(pictures, size)
    embedding = model.encoder.embed_masks(shown, masks.sigmoid())
    ious = [mask_ious(m, t.masks) for m, t in zip(masks, targets, strict=True)]
    return {
        "mask_embed": embedding,
        "whole_picture": model.encoder.embed_pictures(shown),
        "class_scores": model.own_scores(embedding)[..., :-1].softmax(-1),
        "iou": torch.cat(ious),
        "iou_normalised": torch.cat([rescale(i) for i in ious]),
    }


@parity_runner("maft", "eval", unused=GIVEN)
def run_inference(case: ParityCase) -> Results:
    """Segment one picture."""
    model, x = tiny_maft(case).eval(), case.tensors()
    ((height, width),) = case.config["out_sizes"]
    picture = x["image0"]
    with torch.no_grad():
        return {
            "clip_images": model.shown([picture], tuple(picture.shape[-2:])),
            "mask_embed": model.encode_picture(picture).mask_embedding,
            "sem_seg0": model([{"image": picture, "height": height, "width": width}])[0]["sem_seg"],
        }
