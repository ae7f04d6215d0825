"""Fit what tells pictures of the embedded world from others: ``world.safetensors``.

    python tools/fit_embedded_world.py --pictures PHOTOGRAPHS --output world.safetensors

Drawn pictures of all kinds, sizes, quarter turns and JPEG qualities stand against what
``foreign.py`` makes up and against photographs, whole and in quarters. A quarter of the drawn
pictures is held out and says where the threshold lies: 99 % of them are above.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression

from ovs_core.clip.embedded_world import thumbnail, world_features
from ovs_core.commands.options import add_output, add_pictures, add_samples, read_line, tool_parser
from ovs_core.data.embedded.scenes import render_object, render_scene, render_stuff
from ovs_core.files.pictures import find_pictures, read_picture

from .foreign import draw_foreign

_KINDS = (render_scene, render_scene, render_object, render_stuff)
_REPEATS = 3  # of a photograph, as there are few
_SHARE = 0.01  # of the drawn pictures that were held out, most of them tiny and blocky, is let go


def main(argv: list[str] | None = None) -> None:
    """Fit, say how far apart the two sides are, and write the file."""
    parser = tool_parser(__doc__)
    add_pictures(parser)
    add_samples(parser, 2500)
    add_output(parser, required=True)
    args = read_line(parser, argv)
    rng = np.random.default_rng(1)
    drawn = _describe([thumbnail(draw_known(rng)) for _ in range(args.samples)])
    foreign = _describe([thumbnail(draw_foreign(rng)) for _ in range(args.samples)])
    photographs = _describe([t for file in _files(args.pictures) for t in _parts(file)])
    held = len(drawn) // 4
    others = np.concatenate([foreign, *[photographs] * _REPEATS])
    weight, bias = fit(drawn[held:], others)
    likeness = drawn[:held] @ weight + bias
    bias -= float(np.quantile(likeness, _SHARE))
    for name, side in (("drawn, held out", drawn[:held]), ("made up", foreign),
                       ("photographs", photographs)):  # fmt: skip
        value = side @ weight + bias
        print(f"{name}: {len(side)}, {value.min():.2f} .. {value.max():.2f}")
    tensors = {"weight": torch.from_numpy(weight), "bias": torch.tensor(bias)}
    save_file({name: value.float() for name, value in tensors.items()}, args.output)


def fit(drawn: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, float]:
    """Fit a logistic model on standardised features.

    Args:
        drawn: (N, F).
        others: (M, F).

    Returns:
        (F,) weights of the features as they are, and the bias.
    """
    every = np.concatenate([drawn, others])
    mean, scale = drawn.mean(0), every.std(0) + 1e-3
    labels = [1] * len(drawn) + [0] * len(others)
    model = LogisticRegression(C=0.003, max_iter=1000).fit((every - mean) / scale, labels)
    weight = model.coef_[0] / scale
    return weight, float(model.intercept_[0] - mean @ weight)


def draw_known(rng: np.random.Generator) -> np.ndarray:
    """Draw a picture of the embedded world as a person may have it, (H, W, 3) uint8."""
    render = _KINDS[int(rng.integers(len(_KINDS)))]
    height = int(rng.integers(64, 224))
    width = int(np.clip(height * rng.uniform(0.55, 1.8), 64, 288))
    scene = render(int(rng.integers(2**31)), (height, width))
    image = Image.fromarray(np.ascontiguousarray(np.rot90(scene.image, int(rng.integers(4)))))
    if rng.random() < 0.3:
        factor = rng.uniform(0.4, 2)
        image = image.resize([max(48, round(side * factor)) for side in image.size])
    quality = int(rng.choice([0, 0, 0, 10, 20, 50, 75]))
    if quality:
        packed = io.BytesIO()
        image.save(packed, "JPEG", quality=quality)
        image = Image.open(packed)
    return np.asarray(image)


def _files(named: Sequence[Path]) -> list[Path]:
    return [file for path in named for file in (find_pictures(path) if path.is_dir() else [path])]


def _parts(file: Path) -> list[np.ndarray]:
    """A photograph and its quarters, each in all quarter turns, as thumbnails."""
    photograph = read_picture(file)
    rows, columns = (side // 2 for side in photograph.shape[:2])
    quarters = [photograph[y : y + rows, x : x + columns] for y in (0, rows) for x in (0, columns)]
    small = [thumbnail(np.ascontiguousarray(part)) for part in (photograph, *quarters)]
    return [np.rot90(part, turn) for part in small for turn in range(4)]


def _describe(thumbnails: Sequence[np.ndarray]) -> np.ndarray:
    chunks = [thumbnails[i : i + 200] for i in range(0, len(thumbnails), 200)]
    described: np.ndarray = torch.cat([world_features(np.stack(one)) for one in chunks]).numpy()
    return described
