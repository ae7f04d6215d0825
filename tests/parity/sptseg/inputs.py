"""Learning rates and the two input pipelines."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ovs_core.data.mmseg_pipeline import (
    BRIGHTNESS,
    CONTRAST,
    HUE,
    SATURATION,
    TrainingAugmentation,
    resize_short_side,
)
from ovs_core.engine.schedules import poly_rate
from ovs_core.words.label_space import IGNORE

from ..reference_labels import STORED_IGNORE, canonical
from ..reference_labels import stored as to_stored
from ..runner import Arrays, ParityCase, Tolerance, parity_runner, stated
from .common import METHODS, Results, runner

DRAWS = {name: "what the seed draws" for name in ("size", "scale", "flip")}


def _relative(case: ParityCase, name: str, references: Arrays) -> Tolerance:
    return Tolerance(rtol=stated(case)[0])


def run_lr_schedule(case: ParityCase) -> Results:
    """Rates at given iterations."""
    c = case.config
    case.require("config.warmup", "linear")
    out: Results = {}
    for name, iterations in c["max_iters"].items():
        rates = [
            poly_rate(
                int(i),
                peak=c["base_lr"],
                iterations=iterations,
                power=c["power"],
                floor=c["min_lr"],
                warmup=c["warmup_iters"],
                warmup_factor=c["warmup_ratio"],
            )
            for i in case.inputs[f"iters_{name}"]
        ]
        out[f"lr_{name}"] = np.array(rates)
    return out


for _method in METHODS:
    parity_runner(_method, "lr_schedule", tolerance=_relative)(run_lr_schedule)


@runner("test_pipeline", methods=("zegclip",))
def run_test_pipeline(case: ParityCase) -> Results:
    """Resize the short side and normalise."""
    case.require("config.to_rgb", True)
    for (height, width), expected in case.meta["size_examples_for_short_512"]:
        resized = resize_short_side(np.zeros((height, width, 3), np.uint8), 512)
        if resized.shape[:2] != tuple(expected):
            raise ValueError(f"{height} x {width} became {resized.shape}, not {expected}")
    out: Results = {}
    for name, picture in case.inputs.items():
        resized = resize_short_side(picture[..., ::-1], case.config["short"])
        out[name.replace("img_bgr", "net_input")] = _normalised(resized, case)
    return out


@runner("train_pipeline", methods=("zegclip",), unused=DRAWS)
def run_train_pipeline(case: ParityCase) -> Results:
    """The whole training augmentation, with NumPy's generator seeded per picture."""
    c = case.config
    for place, value in _FIXED.items():
        case.require(f"config.{place}", value)
    augment = TrainingAugmentation(
        crop=c["crop"],
        scale=c["img_scale"],
        ratio=c["ratio_range"],
        max_class_share=c["cat_max_ratio"],
        flip=c["flip"],
    )
    out: Results = {}
    for i, one in enumerate(case.meta["cases"]):
        np.random.seed(one["numpy_seed"])
        truth = canonical(torch.from_numpy(case.inputs[f"label{i}"].astype(np.float64)))
        picture, labels = augment(case.inputs[f"img_bgr{i}"][..., ::-1], truth.numpy())
        below, right = (c["crop"] - side for side in labels.shape)
        out[f"img{i}"] = F.pad(_normalised(picture, case), (0, right, 0, below))
        padded = np.pad(labels, ((0, below), (0, right)), constant_values=IGNORE)
        out[f"label{i}"] = to_stored(torch.from_numpy(padded.astype(np.int64)))
    return out


# What the augmentation has no option for, in the words of the files.
_FIXED = {
    "photometric": {
        "brightness": BRIGHTNESS, "contrast": list(CONTRAST), "saturation": list(SATURATION),
        "hue": HUE,
    },
    "pad_value_after_normalise": 0,
    "label_pad": STORED_IGNORE,
    "to_rgb": True,
}  # fmt: skip


def _normalised(picture: np.ndarray, case: ParityCase) -> Tensor:
    """RGB (H, W, 3) in 0..255 -> (3, H, W)."""
    mean, std = (torch.tensor(case.config[k]).view(3, 1, 1) for k in ("mean", "std"))
    image = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)
    return (image.float() - mean) / std
