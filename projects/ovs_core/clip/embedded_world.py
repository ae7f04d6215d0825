"""Whether a picture is of the world that the embedded CLIPs know: its drawn scenes.

A logistic model looks at a thumbnail: at its colours, and at the mean and spread of the tokens that
the embedded ViT makes of it. ``embedded/README.md`` says how it was made.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from .architectures import EMBEDDED, EMBEDDED_DIR
from .file_memory import check_file
from .identity import RANDOM
from .image_encoder import ImageEncoder
from .loading import load_clip
from .model import CLIP

WORLD_FILE = EMBEDDED_DIR / "world.safetensors"
REAL_CLIP = "ViT-B-16-quickgelu/openai"
OUT_OF_WORLD = (
    "this picture is not of the drawn world that the embedded CLIP knows, so its labels mean "
    f"little; `ovsuite weights get {REAL_CLIP}` fetches a CLIP for photographs, which "
    "--method cliptrase/vitb16 takes"
)
_SIDE = 64  # pixels of the thumbnail
_BINS = 8  # of each colour


def knows_its_world_only(clip: CLIP) -> bool:
    """Whether a CLIP is an embedded one, which has seen drawn scenes alone."""
    return clip.architecture in EMBEDDED and clip.identity.pretrained != RANDOM


def world_likeness(image: np.ndarray) -> float:
    """Say how much a picture looks like the embedded world.

    Args:
        image: (H, W, 3) uint8 RGB of any size.

    Returns:
        Above 0 if it is of that world.
    """
    model = _model()
    features = world_features(thumbnail(image)[None])[0]
    return float(features @ model["weight"] + model["bias"])


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Shrink (H, W, 3) uint8 to what is looked at: (64, 64, 3)."""
    return np.asarray(Image.fromarray(image).resize((_SIDE, _SIDE), Image.Resampling.BOX))


def world_features(thumbnails: np.ndarray) -> Tensor:
    """Describe thumbnails.

    Args:
        thumbnails: (B, 64, 64, 3) uint8.

    Returns:
        (B, F) float32: roots of the shares of 512 colours, means and spreads of the tokens.
    """
    clip = _clip()
    encoder = ImageEncoder(clip.visual)
    with torch.no_grad():
        pictures = torch.from_numpy(np.array(thumbnails)).permute(0, 3, 1, 2)
        tokens = encoder.run_blocks(*encoder.embed(clip.normalize(pictures)))[0][:, 1:]
    spread = tokens.std(dim=1, correction=0)
    return torch.cat([_colours(thumbnails), tokens.mean(dim=1), spread], dim=1)


def _colours(thumbnails: np.ndarray) -> Tensor:
    steps = thumbnails.astype(np.int64) * _BINS // 256
    index = (steps[..., 0] * _BINS + steps[..., 1]) * _BINS + steps[..., 2]
    counts = np.stack([np.bincount(one.ravel(), minlength=_BINS**3) for one in index])
    return torch.from_numpy(np.sqrt(counts / _SIDE**2)).float()


@lru_cache(maxsize=1)
def _clip() -> CLIP:
    return load_clip("embedded-vit")


@lru_cache(maxsize=1)
def _model() -> dict[str, Tensor]:
    check_file(WORLD_FILE)
    return load_file(WORLD_FILE)
