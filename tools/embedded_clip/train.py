#!/usr/bin/env python
"""Train the tiny CLIP of the embedded world.

    python tools/train_embedded_clip.py --arch vit --output output/embedded_vit --export

Stops and resumes at any time: run the same command again. The loss is CLIP's, with two additions
that the generator's exact knowledge allows: a caption counts as a positive for every picture of
the batch that it is true of, and during the first part of the training the picture's feature has a
helper task (which things, colours and stuff are in view) whose linear heads are thrown away.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.transformer import PatchDropout
from torch import Tensor, nn

from ovs_core.clip import CLIP, ImageEncoder, load_clip, read_weight_file
from ovs_core.clip.architectures import EMBEDDED_DIR, model_config
from ovs_core.data.embedded.vocabulary import COLOURS, STUFF, THINGS
from ovs_core.files.cache import cache_dir
from ovs_core.files.writing import save_safetensors, save_torch
from ovs_core.load_report import load_weights

from .bank import Bank, BankSpec, ensure_bank
from .probe import dense_miou, single_object_accuracy


class Banks(NamedTuple):
    """Where training pictures come from: 64-pixel, large, and those of held-out pairs."""

    small: Bank
    large: Bank
    held_out: Bank


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--arch", choices=("vit", "convnext"), default="vit")
    add("--output", type=Path, required=True, help="folder of checkpoint, log and weights")
    add("--steps", type=int, default=1300)
    add("--batch", type=int, default=256, help="64-pixel pictures in a step")
    add("--captions", type=int, default=128, help="captions in a step, shared by its pictures")
    add("--short-share", type=float, default=0.35, help="share of bare thing or colour captions")
    add("--lr", type=float, default=1.2e-3)
    add("--weight-decay", type=float, default=0.05)
    add("--helper-share", type=float, default=0.5, help="share of the steps with the helper task")
    add("--patch-dropout", type=float, default=0.35, help="share of a ViT's patches left out")
    add("--pictures", type=int, default=160_000, help="64-pixel pictures in the bank")
    add("--large-every", type=int, default=5, help="each so many steps one of large pictures")
    add("--large-side", type=int, default=96, help="side of the large pictures")
    add("--large-pictures", type=int, default=20_000, help="large pictures in the bank")
    add("--large-objects", type=float, default=0.35, help="share of object-centred large pictures")
    add("--held-out-from", type=int, default=750,
        help="step from which pictures of pairs that no caption names take part, captioned by "
        "their bare thing or bare colour")  # fmt: skip
    add("--held-out-count", type=int, default=40, help="such pictures in a step")
    add("--text-from", type=Path, help="weights whose text tower is taken and kept as it is")
    add("--seed", type=int, default=1)
    add("--threads", type=int, default=os.cpu_count())
    add("--fp32", action="store_true", help="no bf16 autocast")
    add("--check-every", type=int, default=150, help="steps between checkpoints")
    add("--export", action="store_true", help="replace the shipped weights at the end")
    return parser.parse_args(argv)


def contrastive_loss(image: Tensor, text: Tensor, scale: Tensor, true: Tensor) -> Tensor:
    """CLIP's symmetric loss where several captions may be true of a picture and vice versa.

    Args:
        image: (B, D) image features.
        text: (T, D) features of the batch's distinct captions.
        scale: the logit scale.
        true: (B, T) whether a caption is true of a picture.
    """
    logits = scale * F.normalize(image, dim=1) @ F.normalize(text, dim=1).T
    target = true.float()
    losses = []
    for axis in (0, 1):
        count = target.sum(axis)
        each = -(target * logits.log_softmax(axis)).sum(axis) / count.clamp(min=1)
        losses.append(each[count > 0].mean())
    return (losses[0] + losses[1]) / 2


def helper_loss(scores: Tensor, facts: Tensor) -> Tensor:
    """Cross entropy with the things, the colours and the stuff that are in view.

    Args:
        scores: (B, 20 + 10 + 8) of the helper heads.
        facts: (B, A) 1 where an atom is true.
    """
    num_pairs = len(THINGS) * len(COLOURS)
    pairs = facts[:, :num_pairs].unflatten(1, (len(THINGS), len(COLOURS)))
    groups = (pairs.amax(2), pairs.amax(1), facts[:, num_pairs : num_pairs + len(STUFF)])
    loss = scores.new_zeros(())
    parts = scores.split([group.shape[1] for group in groups], dim=1)
    for score, present in zip(parts, groups, strict=True):
        count = present.sum(1)
        each = -(present * score.log_softmax(1)).sum(1) / count.clamp(min=1)
        loss = loss + each[count > 0].mean()
    return loss


class Training:
    """The state of a training: model, helper heads, optimiser, and the step it is at."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.clip = load_clip(f"embedded-{args.arch}", "random", seed=args.seed)
        self.model = self.clip.model.train().requires_grad_(True)
        if args.text_from:
            freeze_text_tower(self.clip, args.text_from)
        self.encoder = ImageEncoder(self.clip.visual) if args.arch == "vit" else None
        self.dropout = PatchDropout(args.patch_dropout) if args.patch_dropout else nn.Identity()
        torch.manual_seed(args.seed)
        heads = nn.Linear(self.clip.embed_dim, len(THINGS) + len(COLOURS) + len(STUFF))
        self.modules = nn.ModuleDict({"clip": self.model, "heads": heads})
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.modules, args.weight_decay), betas=(0.9, 0.98), fused=True
        )
        self.step = 0
        self.checkpoint = args.output / "checkpoint.pt"

    def resume(self) -> None:
        """Continue from the checkpoint in the output folder, if there is one."""
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True)
            self.modules.load_state_dict(state["modules"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]
            print(f"resumed at step {self.step}", flush=True)

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "modules": self.modules.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }
        save_torch(self.checkpoint, state)

    def train_step(self, banks: Banks) -> float:
        """Take one step; its batch depends on seed and step only, so a resumed run is the same."""
        args = self.args
        rng = np.random.default_rng([args.seed, self.step])
        torch.manual_seed(args.seed * 1_000_003 + self.step)
        is_large = self.step % args.large_every == args.large_every - 1
        bank, size = (banks.large, args.batch // 2) if is_large else (banks.small, args.batch)
        extra = 0 if is_large or self.step < args.held_out_from else args.held_out_count
        drawn = bank.draw(rng, size - extra, short_share=args.short_share)
        if extra:
            drawn = join(drawn, banks.held_out.draw(rng, extra, short_share=1.0))
        images, shown, captions, claimed = drawn
        spoken = rng.permutation(size)[: args.captions]
        tokens, first = np.unique(captions[spoken], axis=0, return_index=True)
        facts, claims = (torch.from_numpy(a).float() for a in (shown, claimed[spoken][first]))
        pixels = self.clip.normalize(torch.from_numpy(images).permute(0, 3, 1, 2))
        with torch.autocast("cpu", torch.bfloat16, enabled=not args.fp32):
            image = self.encode_images(pixels)
            text = self.clip.parts.encode_text(torch.from_numpy(tokens.astype(np.int64)))
        true = (1 - facts) @ claims.T == 0
        scale = self.clip.parts.logit_scale.exp()
        loss = contrastive_loss(image.float(), text.float(), scale, true)
        helped = slice(size - extra)  # a held-out pair is never named, not to the helper either
        self.update(loss + self.weighted_helper_loss(image.float()[helped], facts[helped]))
        return loss.item()

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Image features (B, D) of pictures of any size, a ViT's with some patches left out."""
        if self.encoder is None:
            return self.clip.visual(pixels)
        tokens, grid = self.encoder.embed(pixels)
        tokens, _ = self.encoder.run_blocks(self.dropout(tokens), grid)
        return self.encoder.project(tokens[:, 0])

    def weighted_helper_loss(self, image: Tensor, facts: Tensor) -> Tensor | float:
        """Helper loss, fading out linearly over its share of the training."""
        end = self.args.helper_share * self.args.steps
        if self.step >= end:
            return 0.0
        return (1 - self.step / end) * helper_loss(self.modules["heads"](image), facts)

    def update(self, loss: Tensor) -> None:
        """Follow the gradient of a loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.args)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.modules.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            self.clip.parts.logit_scale.clamp_(max=math.log(100))
        self.step += 1

    def probe(self) -> dict[str, float]:
        """Measure what the model can do on fresh pictures."""
        self.model.eval()
        found = single_object_accuracy(self.clip, count=200)
        if self.encoder is not None:
            found |= {f"mIoU {k}": v for k, v in dense_miou(self.clip, count=24).items()}
        self.model.train()
        return {name: round(value, 1) for name, value in found.items()}

    def export(self, path: Path) -> None:
        """Write the weights as half-precision safetensors with open_clip's names."""
        quick = str(model_config(self.clip.architecture)["quick_gelu"]).lower()
        state = {name: value.half().contiguous() for name, value in self.model.state_dict().items()}
        save_safetensors(path, state, {"quick_gelu": quick})


def join(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Put two drawn sets of pictures and captions together."""
    return tuple(np.concatenate(pair) for pair in zip(first, second, strict=True))


def parameter_groups(modules: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trained parameters in two groups: matrices with weight decay, the others without."""
    trained = [p for p in modules.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]


def learning_rate(step: int, args: argparse.Namespace) -> float:
    """Linear warm-up, then a cosine to zero."""
    warmup = min(150, max(1, args.steps // 10))
    if step < warmup:
        return args.lr * (step + 1) / warmup
    return args.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (args.steps - warmup)))


def freeze_text_tower(clip: CLIP, weights: Path) -> None:
    """Take the text tower from other weights and keep it out of the training."""
    given, state = read_weight_file(weights).tensors, clip.model.state_dict()
    load_weights(
        clip.model,
        {name: value for name, value in given.items() if not name.startswith("visual.")},
        source=weights,
        owner=f"the text tower of {clip.architecture}",
        mend="give --text-from a CLIP with the same text tower",
        needed={name: value for name, value in state.items() if not name.startswith("visual.")},
    )
    clip.renew_identity(str(weights))
    for name, parameter in clip.model.named_parameters():
        parameter.requires_grad_(name.startswith("visual.") or name == "logit_scale")


def load_banks(args: argparse.Namespace, clip: CLIP) -> Banks:
    """Load the banks, rendering them on first use."""
    root = cache_dir() / "embedded_clip_bank"
    side, count = args.large_side, args.large_pictures
    specs = {
        f"64_{args.pictures}": BankSpec(args.pictures, 64, 64, 0.66, 0.1, 100_000_000),
        f"{side}_{count}": BankSpec(count, side, side, args.large_objects, 0.1, 200_000_000),
        "64_held_out": BankSpec(20_000, 64, 64, 1.0, 0.0, 300_000_000, held_out=True),
    }

    def tokenize(texts: list[str]) -> np.ndarray:
        return clip.tokenizer(texts).numpy()

    banks = (ensure_bank(root / k, spec, tokenize, args.threads) for k, spec in specs.items())
    return Banks(*banks)


def main(argv: list[str] | None = None) -> None:
    """Train, probing and saving as it goes."""
    args = parse_arguments(argv)
    torch.set_num_threads(args.threads)
    args.output.mkdir(parents=True, exist_ok=True)
    training = Training(args)
    training.resume()
    banks = load_banks(args, training.clip)
    begin, first, losses = time.time(), training.step, []
    while training.step < args.steps:
        losses.append(training.train_step(banks))
        step, minutes = training.step, (time.time() - begin) / 60
        loss = round(float(np.mean(losses[-50:])), 3)
        if step % 25 == 0:
            left = minutes / (step - first) * (args.steps - step)
            print(f"step {step}/{args.steps}, loss {loss}, {left:.0f} min left", flush=True)
        if step % args.check_every == 0 or step == args.steps:
            training.save()
            training.export(args.output / f"{args.arch}.safetensors")
            record = {"step": step, "minutes": round(minutes, 1), "loss": loss, **training.probe()}
            print(record, flush=True)
            with open(args.output / "log.jsonl", "a", encoding="utf-8") as log:
                log.write(json.dumps(record) + "\n")
    if args.export:
        training.export(EMBEDDED_DIR / f"{args.arch}.safetensors")


if __name__ == "__main__":
    main()
