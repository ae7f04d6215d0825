"""Quality of a CLIP on the embedded world: recognition of single things, and dense labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ovs_core.clip import CLIP, ImageEncoder
from ovs_core.clip.attention import value_block
from ovs_core.clip.conv_encoder import ConvEncoder
from ovs_core.data.embedded.scenes import render_object, render_scene
from ovs_core.data.embedded.vocabulary import (
    COLOURS,
    LARGE_NAMES,
    SEMANTIC_NAMES,
    THINGS,
    unseen_pairs,
)

from .dense import recovered_block, self_self_block

PROMPTS = ("a photo of a {}", "a picture of a {}", "there is a {}")
_NUM_PAIRS = len(THINGS) * len(COLOURS)


def probe(clip: CLIP) -> dict[str, float]:
    """Measure in percent what a CLIP in evaluation mode can do on fresh pictures."""
    found = single_object_accuracy(clip, count=200)
    if hasattr(clip.visual, "transformer"):
        found |= {f"mIoU {name}": value for name, value in dense_miou(clip, count=24).items()}
    else:
        larger = mask_accuracy(clip, count=50, size=(384, 512))
        found |= mask_accuracy(clip, count=50)
        found |= {f"{name} at 384": value for name, value in larger.items()}
    return {name: round(value, 1) for name, value in found.items()}


@torch.no_grad()
def name_embeddings(clip: CLIP, names: Sequence[str]) -> Tensor:
    """(K, D) unit vectors of names, averaged over :data:`PROMPTS`."""
    features = [
        clip.parts.encode_text(
            clip.tokenizer([prompt.format(n) for n in names]).to(clip.pixel_mean.device),
            normalize=True,
        )
        for prompt in PROMPTS
    ]
    return F.normalize(torch.stack(features).mean(0), dim=-1)


@torch.no_grad()
def single_object_accuracy(
    clip: CLIP, *, count: int = 300, size: int = 64, seed: int = 900_000_000
) -> dict[str, float]:
    """Accuracy on fresh object-centred pictures.

    Args:
        clip: the CLIP in evaluation mode.
        count: number of pictures of seen and again of unseen colour-thing pairs.
        size: side of the pictures.
        seed: first picture seed.

    Returns:
        Percent right for ``20-way`` and ``200-way`` (seen pairs), and both again with `` unseen``.
    """
    held_out = unseen_pairs()
    seen = sorted(set(range(_NUM_PAIRS)) - set(held_out))
    things = name_embeddings(clip, THINGS)
    pairs = name_embeddings(clip, LARGE_NAMES[:_NUM_PAIRS])
    result = {}
    for group, pool in (("", seen), (" unseen", held_out)):
        truth = torch.tensor([pool[i % len(pool)] for i in range(count)])
        shown = [
            render_object(seed + i, size, pair=divmod(int(pair), len(COLOURS))).image
            for i, pair in enumerate(truth)
        ]
        features = torch.cat([
            clip.parts.encode_image(clip.normalize(part.to(things.device)), normalize=True)
            for part in as_pixels(shown).split(100)
        ])  # fmt: skip
        truth = truth.to(features.device)
        coarse = (features @ things.T).argmax(1) == truth // len(COLOURS)
        fine = (features @ pairs.T).argmax(1) == truth
        result[f"20-way{group}"] = 100 * coarse.float().mean().item()
        result[f"200-way{group}"] = 100 * fine.float().mean().item()
    return result


@torch.no_grad()
def dense_miou(
    clip: CLIP,
    *,
    count: int = 40,
    size: tuple[int, int] = (192, 256),
    seed: int = 910_000_000,
) -> dict[str, float]:
    """MIoU in percent over the 28 classes of labels by patch, for four last attention blocks.

    Returns:
        The mIoU of ``plain``, ``value-only`` (MaskCLIP), ``self-self`` (SCLIP) and ``recovered``
        (CLIPtrase, without its regions).
    """
    words = name_embeddings(clip, SEMANTIC_NAMES)
    scenes = [render_scene(seed + i, size) for i in range(count)]
    encoder = ImageEncoder(clip.visual)
    classes = len(SEMANTIC_NAMES)
    result = {}
    for name, run in _LAST_BLOCKS.items():
        confusion = np.zeros(classes * classes, np.int64)
        replaced = {encoder.num_blocks - 1: run} if run else None
        for scene in scenes:
            pixels = clip.normalize(as_pixels([scene.image]).to(words.device))
            patches = F.normalize(encoder(pixels, blocks=replaced).patches, dim=1)
            scores = torch.einsum("bdhw,kd->bkhw", patches, words)
            guess = F.interpolate(scores, size=size, mode="bilinear").argmax(1)[0].cpu().numpy()
            pairs = classes * scene.semantic.astype(np.int64) + guess
            confusion += np.bincount(pairs.ravel(), minlength=len(confusion))
        table = confusion.reshape(classes, classes)
        hit = np.diag(table)
        result[name] = float(100 * (hit / np.maximum(1, table.sum(0) + table.sum(1) - hit)).mean())
    return result


@torch.no_grad()
def mask_accuracy(
    clip: CLIP, *, count: int = 100, size: tuple[int, int] = (192, 256), seed: int = 920_000_000
) -> dict[str, float]:
    """Accuracy of naming true masks by the dense features of a convolutional CLIP.

    Args:
        clip: the CLIP in evaluation mode.
        count: number of scenes.
        size: height and width, multiples of 32.
        seed: first scene seed.

    Returns:
        Percent of masks named right among the 28 classes, for ``things`` and ``stuff``, and for
        ``things among things`` by the 20 names of things alone.
    """
    encoder, words = ConvEncoder(clip.visual), name_embeddings(clip, SEMANTIC_NAMES)
    right: dict[str, list[bool]] = {"things": [], "stuff": [], "things among things": []}
    for scene in (render_scene(seed + i, size) for i in range(count)):
        pixels = clip.normalize(as_pixels([scene.image]).to(words.device))
        dense = encoder(pixels)["dense"][0]
        segments = scene.segments_info
        masks = np.stack([scene.panoptic == segment["id"] for segment in segments])
        grid = (dense.shape[-2], dense.shape[-1])
        shares = torch.from_numpy(masks).float().to(words.device)
        cells = F.adaptive_avg_pool2d(shares, grid).flatten(1)
        pooled = cells / cells.sum(1, keepdim=True) @ dense.flatten(1).T
        scores = F.normalize(encoder.project(pooled), dim=-1) @ words.T
        for score, segment in zip(scores, segments, strict=True):
            truth = segment["category_id"]
            right["things" if segment["isthing"] else "stuff"].append(int(score.argmax()) == truth)
            if segment["isthing"]:
                guess = int(score[: len(THINGS)].argmax())
                right["things among things"].append(guess == truth)
    return {name: 100 * float(np.mean(hits)) for name, hits in right.items()}


def as_pixels(images: Sequence[np.ndarray]) -> Tensor:
    """Stack (H, W, 3) uint8 pictures to (B, 3, H, W) in 0..255."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()


_LAST_BLOCKS = {
    "plain": None, "value-only": value_block, "self-self": self_self_block,
    "recovered": recovered_block,
}  # fmt: skip
