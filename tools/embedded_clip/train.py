#!/usr/bin/env python
"""Train the tiny CLIPs of the embedded world.

    python tools/train_embedded_clip.py --arch vit --output output/embedded_vit --export

Stops and resumes at any time: run the same command again. The loss is CLIP's, with three additions
that the generator's exact knowledge allows. A caption counts as a positive for every picture of the
batch that it is true of. Patches are contrasted with phrases, told which are true of the picture
and never where. And during the first part of the training the picture's feature has a helper task
(which things, colours and stuff are in view) whose linear heads are thrown away.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ovs_core.clip import load_clip
from ovs_core.clip.architectures import EMBEDDED_DIR, model_config
from ovs_core.clip.file_memory import write_digests
from ovs_core.data.embedded.vocabulary import COLOURS, STUFF, THINGS
from ovs_core.files.writing import save_safetensors, save_torch

from .arguments import parse_arguments
from .batches import Batch, Batches
from .dense import BARE_ATOMS
from .losses import contrastive_loss, helper_loss, patch_loss, pooled_loss
from .model import PictureEncoder, freeze_text_tower, parameter_groups
from .probe import probe

_WEIGHT_DECAY = 0.05
_SHARPNESS, _DENSE_SCALE = 12.0, 20.0  # of the soft maximum over patches; on their cosines


class Training:
    """The state of a training: model, helper heads, optimiser, and the step it is at."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.device = torch.device(args.device)
        start = str(args.init) if args.init else "random"
        self.clip = load_clip(f"embedded-{args.arch}", start, device=self.device, seed=args.seed)
        self.model = self.clip.model.train().requires_grad_(True)
        if args.text_from:
            freeze_text_tower(self.clip, args.text_from)
        self.encode_images = PictureEncoder(self.clip, args.paths, args.patch_dropout)
        torch.manual_seed(args.seed)
        heads = nn.Linear(self.clip.embed_dim, len(THINGS) + len(COLOURS) + len(STUFF))
        self.modules = nn.ModuleDict({"clip": self.model, "heads": heads.to(self.device)})
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.modules, _WEIGHT_DECAY), betas=(0.9, 0.98), fused=True
        )
        self.step, self.seconds = 0, 0.0
        self.checkpoint = args.output / "checkpoint.pt"

    @property
    def progress(self) -> float:
        """Share of the training that is done, by steps or by time, whichever is further."""
        timed = self.seconds / (60 * self.args.minutes) if self.args.minutes else 0.0
        return min(1.0, max(self.step / self.args.steps, timed))

    def resume(self) -> None:
        """Continue from the checkpoint in the output folder, if there is one."""
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True, map_location=self.device)
            self.modules.load_state_dict(state["modules"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.seconds = state["step"], state["seconds"]
            print(f"resumed at step {self.step}", flush=True)

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "modules": self.modules.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        save_torch(self.checkpoint, state)

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        """Take one step.

        Returns:
            The losses by name, on the device.
        """
        args = self.args
        rng = np.random.default_rng([args.seed, self.step, 1])
        torch.manual_seed(args.seed * 1_000_003 + self.step)
        batch = batch.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=not args.fp32):
            image, patches = self.encode_images(self.clip.normalize(batch.images), rng)
            count = len(batch.tokens)
            words = self.clip.parts.encode_text(torch.cat([batch.tokens, batch.phrases]))
        image, patches, words = image.float(), patches.float(), words.float()
        true = (1 - batch.facts) @ batch.claims.T == 0
        scale = self.clip.parts.logit_scale.exp()
        losses = {"contrast": contrastive_loss(image, words[:count], scale, true)}
        losses |= dense_losses(patches, words[count:], batch)
        total = losses["contrast"] + args.dense_weight * losses["pooled"]
        total = total + args.patch_weight * losses["patches"]
        if batch.helped:
            helped = slice(batch.helped)  # a held-out pair is never named, not to the helper either
            total = total + self.weighted_helper_loss(image[helped], batch.facts[helped])
        self.update(total)
        return {name: loss.detach() for name, loss in losses.items()}

    def weighted_helper_loss(self, image: Tensor, facts: Tensor) -> Tensor | float:
        """Helper loss, fading out linearly over its share of the training."""
        end = self.args.helper_share
        if self.progress >= end:
            return 0.0
        return (1 - self.progress / end) * helper_loss(self.modules["heads"](image), facts)

    def update(self, loss: Tensor) -> None:
        """Follow the gradient of a loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.progress, self.args)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.modules.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            self.clip.parts.logit_scale.clamp_(max=math.log(100))
        self.step += 1

    def export(self, path: Path) -> None:
        """Write the weights as half-precision safetensors with open_clip's names."""
        quick = str(model_config(self.clip.architecture)["quick_gelu"]).lower()
        state = {name: value.half().contiguous() for name, value in self.model.state_dict().items()}
        save_safetensors(path, state, {"quick_gelu": quick})


def dense_losses(patches: Tensor, phrases: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Losses of (B, N, D) patches against (P, D) phrases."""
    bare = len(BARE_ATOMS)
    scores = F.normalize(patches, dim=-1) @ F.normalize(phrases, dim=-1).T
    facts, glimpsed = batch.facts[:, batch.atoms], batch.glimpsed[:, batch.atoms[:bare]]
    return {
        "pooled": pooled_loss(scores, facts, sharpness=_SHARPNESS, scale=_DENSE_SCALE),
        "patches": patch_loss(scores[..., :bare], glimpsed, scale=_DENSE_SCALE),
    }


def learning_rate(step: int, progress: float, args: argparse.Namespace) -> float:
    """Linear warm-up times a cosine to zero."""
    warmup = min(150, max(1, args.steps // 10))
    warm = min(1.0, (step + 1) / warmup)
    return args.lr * warm * 0.5 * (1 + math.cos(math.pi * progress))


def main(argv: list[str] | None = None) -> None:
    """Train, probing and saving as it goes."""
    args = parse_arguments(__doc__, argv)
    torch.set_num_threads(args.threads)
    args.output.mkdir(parents=True, exist_ok=True)
    training = Training(args)
    training.resume()
    run(training, Batches(args, training.clip))
    if args.export:
        training.export(EMBEDDED_DIR / f"{args.arch}.safetensors")
        write_digests()


def run(training: Training, batches: Batches) -> None:
    """Take all steps, the next batch being drawn meanwhile."""
    args = training.args
    before, begin = training.seconds, time.time()
    recent: list[dict[str, Tensor]] = []
    with ThreadPoolExecutor(1) as pool:
        batch = batches.draw(training.step, training.progress >= args.held_out_from)
        while training.progress < 1:
            # Stated for the step that it is drawn for, so that a resumed run draws the same.
            ahead = training.step + 1
            held_out = max(training.progress, ahead / args.steps) >= args.held_out_from
            upcoming = pool.submit(batches.draw, ahead, held_out)
            recent = [*recent[-49:], training.train_step(batch)]
            batch = upcoming.result()
            training.seconds = before + time.time() - begin
            if training.step % 100 == 0:
                print(f"step {training.step}, {training.progress:.0%}", flush=True)
            if training.step % args.check_every == 0 or training.progress >= 1:
                record(training, recent)


def record(training: Training, recent: list[dict[str, Tensor]]) -> None:
    """Save, export, probe and log."""
    args = training.args
    training.save()
    training.export(args.output / f"{args.arch}.safetensors")
    losses = {k: round(float(torch.stack([r[k] for r in recent]).mean()), 3) for k in recent[0]}
    training.model.eval()
    line = {"step": training.step, "minutes": round(training.seconds / 60, 1), **losses,
            **probe(training.clip)}  # fmt: skip
    training.model.train()
    print(line, flush=True)
    with open(args.output / "log.jsonl", "a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
